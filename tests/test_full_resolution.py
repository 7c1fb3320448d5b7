"""Painting at the photo's full size: tiles, shared statistics, enlarging, and every method's run."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from tests.conftest import smooth_image, smooth_pixels
from tests.tiny_house import tiny_house, tiny_studio
from velatura.app.options import parse_size, with_resolution
from velatura.app.studio import Studio, configured
from velatura.cache import Cache
from velatura.diffusion.shared_norms import shared_norms
from velatura.errors import SettingError, StoppedError
from velatura.methods.context import RunContext
from velatura.methods.tiling import repainting
from velatura.methods.tiling.autoencoding import cells_of, decoded, encoded
from velatura.methods.tiling.grid import Grid, Strip
from velatura.methods.tiling.predicting import TiledPrediction
from velatura.methods.tiling.repainting import growing_sizes
from velatura.models.backbone import Backbone, Prediction
from velatura.models.vae_tiling import LARGE, tiled_when_large
from velatura.picture import Picture, image_to_pixels, pixels_to_image
from velatura.picture.enlarging import Enlarged, detail_gains
from velatura.registry import METHODS, REPRODUCTIONS

FITS = {"fit_steps": 1, "fit_size": 64}


def context() -> RunContext[Backbone]:
    return RunContext(tiny_house(), 0, Cache())


def textured(size: tuple[int, int], seed: int = 0) -> Image.Image:
    """A smooth picture under fine noise."""
    width, height = size
    noise = torch.randn(1, 1, height, width, generator=torch.Generator().manual_seed(seed))
    return pixels_to_image((0.6 * smooth_pixels(height, width, seed) + 0.1 * noise).clamp(-1, 1))


# Tiles


@pytest.mark.parametrize(
    ("total", "length", "factor"), [(64, 64, 1), (65, 64, 1), (500, 64, 8), (3, 8, 1), (97, 24, 2)]
)
def test_windows_of_tiles_sum_to_one(total: int, length: int, factor: int) -> None:
    strip = Strip.over(total, length, factor)
    sums = torch.zeros(total * factor)
    for start, window in zip(strip.starts, strip.windows, strict=True):
        assert len(window) == strip.length == min(length, total) * factor
        assert window.min() >= 0 and window.max() <= 1 + 1e-6
        sums[start : start + strip.length] += window
    torch.testing.assert_close(sums, torch.ones_like(sums))


def test_a_tile_counts_for_nothing_at_its_inner_borders() -> None:
    strip = Strip.over(200, 64)
    assert strip.windows[0][0] == 1 and strip.windows[-1][-1] == 1
    assert strip.windows[1][0] == 0 == strip.windows[1][-1] == strip.windows[0][-1]


def test_a_pointwise_prediction_in_tiles_is_that_of_the_whole() -> None:
    latents = torch.randn(1, 4, 50, 70)
    grid = Grid.over((50, 70), 16)
    seen: list[int] = []
    tiled = TiledPrediction(
        [lambda x, t: Prediction(x * t)], torch.ones(1, 1, 50, 70), grid, None, lambda: seen.append(1)
    )
    torch.testing.assert_close(tiled(latents, 3).noise, 3 * latents)
    assert len(seen) == tiled.passes() == len(grid.boxes())


def test_regions_have_their_own_predictions_and_tiles_without_any_are_left_out() -> None:
    latents, shares = torch.randn(1, 4, 64, 64), torch.zeros(2, 1, 64, 64)
    shares[0, :, :, :20], shares[1, :, :, 20:32] = 1, 1
    grid = Grid.over((64, 64), 16)
    predicts = [lambda x, t: Prediction(x), lambda x, t: Prediction(-x)]
    tiled = TiledPrediction(predicts, shares, grid, None, lambda: None)
    noise = tiled(latents, 1).noise
    torch.testing.assert_close(noise[..., :20], latents[..., :20])
    torch.testing.assert_close(noise[..., 20:32], -latents[..., 20:32])
    assert tiled.passes() < 2 * len(grid.boxes())
    assert not noise[..., 60:].any()


# Shared statistics


def test_halves_under_shared_norms_are_the_halves_of_the_whole() -> None:
    network = nn.Sequential(nn.GroupNorm(2, 8), nn.SiLU(), nn.GroupNorm(4, 8))
    whole = torch.randn(1, 8, 6, 10) * torch.linspace(0.1, 3, 10)
    wanted = network(whole)
    left, right = whole.chunk(2, 3)
    with shared_norms(network) as norms:
        assert torch.equal(network(whole), wanted)  # nothing is shared yet
        norms.reference(2)
        both = network(torch.cat([left, right]))
        norms.follow(1)
        alone = network(right)
    torch.testing.assert_close(torch.cat(list(both.split(1)), 3), wanted)
    torch.testing.assert_close(alone, both[1:])
    assert torch.equal(network(whole), wanted)


def test_blocks_of_rows_have_statistics_of_their_own() -> None:
    network = nn.GroupNorm(1, 4)
    with_words, without = torch.randn(2, 4, 3, 3), 5 + 2 * torch.randn(2, 4, 3, 3)
    with shared_norms(network) as norms:
        norms.reference(2)
        both = network(torch.cat([with_words, without]))
        norms.follow(1)
        torch.testing.assert_close(network(torch.cat([with_words[1:], without[1:]])), both[[1, 3]])
    assert both[:2].mean().abs() < 1e-5 and both[2:].mean().abs() < 1e-5


# Enlarging


def test_gains_are_the_slope_where_there_is_structure_and_nothing_without() -> None:
    photo = torch.rand(20, 30, generator=torch.Generator().manual_seed(0))
    inner = (slice(4, -4), slice(4, -4))
    torch.testing.assert_close(
        detail_gains(0.8 * photo - 0.1, photo)[inner], torch.full((12, 22), 0.8), rtol=0.05, atol=0
    )
    assert detail_gains(torch.rand(20, 30), torch.zeros(20, 30)).abs().max() < 1e-3


def test_an_enlarged_copy_of_the_photo_gets_its_detail_back() -> None:
    photo = textured((128, 96))
    small = photo.resize((64, 48), Image.Resampling.LANCZOS)
    wanted = image_to_pixels(photo)
    plain = image_to_pixels(small.resize(photo.size, Image.Resampling.BICUBIC))
    enlarged = Enlarged(small, photo).pixels(0, 0, 128, 96)
    assert (enlarged - wanted).square().mean() < 0.5 * (plain - wanted).square().mean()


def test_boxes_of_an_enlarged_picture_fit_together() -> None:
    source = Enlarged(textured((40, 30)), textured((131, 97), 1))
    whole = source.pixels(0, 0, 131, 97)
    box = source.pixels(50, 40, 64, 32)
    assert (box - whole[..., 40:72, 50:114]).abs().max() < 0.03  # rounding to bytes
    beyond = source.pixels(120, 90, 16, 16)
    assert beyond.shape[2:] == (16, 16)
    assert torch.equal(beyond[..., 7:, :], beyond[..., 6:7, :].expand(-1, -1, 9, -1))


def test_tiles_encode_and_decode_as_the_whole_does() -> None:
    backbone = tiny_house()
    photo = textured((250, 170))
    cells = cells_of(photo.size, backbone)
    assert cells == (22, 32)
    source = Enlarged(photo, photo)
    grid, fine = Grid.over(cells, 16), Grid.over(cells, 16, backbone.factor)
    whole = backbone.encode(source.pixels(0, 0, 256, 176))
    latents = encoded(source, grid, backbone)
    assert (latents - whole).abs().max() < 0.02  # convolutions see a little across a tile's border
    picture = decoded(whole, grid, fine, backbone)
    wanted = pixels_to_image(backbone.decode(whole))
    assert picture.size == (256, 176)
    difference = np.abs(np.asarray(picture, int) - np.asarray(wanted, int))
    assert difference.mean() < 1 and difference.max() < 20


def test_a_large_picture_goes_through_the_autoencoder_in_tiles_and_a_small_one_does_not() -> None:
    from diffusers import AutoencoderKL

    vae = AutoencoderKL(sample_size=64)
    with tiled_when_large(vae, LARGE):
        assert not vae.use_tiling
    with pytest.raises(KeyError), tiled_when_large(vae, LARGE + 1):
        assert vae.use_tiling
        raise KeyError
    assert not vae.use_tiling
    with tiled_when_large(tiny_house().vae, LARGE + 1):
        assert not hasattr(tiny_house().vae, "use_tiling")


def test_pictures_grow_in_steps_of_two_at_most() -> None:
    sizes = [(512, 384), *growing_sizes((512, 384), (4000, 3000))]
    assert sizes[-1] == (4000, 3000)
    assert all(1.5 < large[0] / small[0] < 2.02 for small, large in pairwise(sizes))
    assert growing_sizes((256, 256), (512, 512)) == [(512, 512)]
    assert growing_sizes((512, 512), (512, 512)) == growing_sizes((512, 512), (400, 400)) == []


# Methods


@pytest.fixture
def studio(monkeypatch: pytest.MonkeyPatch) -> Studio:
    monkeypatch.setattr(repainting, "TILE", 64)
    monkeypatch.setattr(repainting, "STEPS", 10)
    monkeypatch.setattr(repainting, "RUN", 2)
    monkeypatch.setattr(tiny_house(), "native_size", 64)
    return tiny_studio()


def settings_of(method: str) -> dict[str, object]:
    fits = FITS if method in ("s2prest", "inst", "diffstyler") else {}
    return {"steps": 2, "resolution": "full", "size": 64, **fits}


@pytest.mark.parametrize("method", METHODS)
def test_every_method_paints_at_full_size(method: str, studio: Studio) -> None:
    photo, style = Picture.of(textured((150, 110))), smooth_image(64, 64, 3)
    settings = settings_of(method)
    full = studio.stylize(photo, style, method=method, **settings)
    again = studio.stylize(photo, style, method=method, **settings)
    enlarged = studio.stylize(photo, style, method=method, **{**settings, "resolution": ""})
    assert full.picture.size == photo.size
    assert full.picture.tobytes() == again.picture.tobytes() != enlarged.picture.tobytes()
    assert full.manifest["settings"]["resolution"] == "full"
    assert full.manifest["unet_evaluations"] > enlarged.manifest["unet_evaluations"]


def test_what_no_region_covers_keeps_its_bytes(studio: Studio) -> None:
    photo = textured((160, 120))
    mask = Image.new("L", photo.size)
    mask.paste(255, (0, 0, 60, 120))
    made = studio.stylize_regions(
        Picture.of(photo),
        [(mask, studio.style(smooth_image(64, 64, 3), configured("guided", {})))],
        method="guided",
        refine=0.0,
        **settings_of("guided"),
    )
    before, after = np.asarray(photo), np.asarray(made.picture)
    assert np.array_equal(before[:, 62:], after[:, 62:])
    assert not np.array_equal(before[:, :58], after[:, :58])


def test_a_caller_can_stop_while_tiles_are_painted(studio: Studio) -> None:
    shown: list[tuple[int, int]] = []

    def stop(step: int, preview: Image.Image) -> bool:
        shown.append(preview.size)
        return len(shown) < 3

    with pytest.raises(StoppedError):
        studio.stylize(
            Picture.of(textured((150, 110))),
            smooth_image(64, 64, 3),
            method="guided",
            on_step=stop,
            strength=1.0,
            **settings_of("guided"),
        )
    assert len(shown) == 3 and len(set(shown)) == 1  # the third is of tiles, and as small as the others


@pytest.mark.parametrize("method", REPRODUCTIONS)
def test_published_programs_have_no_full_size(method: str, studio: Studio) -> None:
    with pytest.raises(SettingError, match="published program"):
        configured(method, {"size": "full"}).check_shared(method)


def test_a_method_that_cannot_paint_tiles_says_so() -> None:
    class Plain:
        name, resolution = "plain", "full"

    with pytest.raises(SettingError, match="plain cannot paint at the photo's full size"):
        repainting.check_paints_tiles(Plain())  # type: ignore[arg-type]


def test_the_size_full_is_the_resolution() -> None:
    assert (
        parse_size(None) == {} and parse_size("256") == {"size": 256} and parse_size("full") == {"resolution": "full"}
    )
    assert with_resolution({"size": "full", "steps": 3}) == {"steps": 3, "resolution": "full"}
    assert configured("guided", {"size": "full"}).resolution == "full"
    with pytest.raises(SettingError, match="whole number of pixels, or full"):
        parse_size("huge")
    with pytest.raises(SettingError, match="resolution must be full"):
        configured("guided", {"resolution": "half"})
