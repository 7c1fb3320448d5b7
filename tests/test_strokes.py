"""The fast method's strokes: the network, its file, its share of a result and of regions, and its training."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.command_line import run as run_command
from tests.conftest import interrupt_training, smooth_image, smooth_pixels
from tests.tiny_house import stroked_house, tiny_house
from velatura.errors import ModelError, PictureError
from velatura.losses.strokes import StrokeLosses
from velatura.methods.base import WorkingPicture
from velatura.methods.context import RunContext
from velatura.methods.fast import Fast, painted_style
from velatura.methods.strokes.pictures import Painted, joined
from velatura.models.features.magenta import StyleTransformer, painted_enlarged, style_transformer, style_vectors
from velatura.models.features.vgg import hed_trunk
from velatura.models.house.backbone import HouseBackbone
from velatura.models.house.stroke_network import (
    STROKES_FILE,
    StrokeNetwork,
    coarse_in_colour,
    load_stroke_network,
    save_stroke_network,
    untrained_stroke_network,
    with_strokes,
)
from velatura.models.loading import load
from velatura.models.loading.catalogue import HOUSE_FOLDER
from velatura.picture import Picture, pixels_to_image
from velatura.progress import Silent
from velatura.regions import Placement, Region, parse_query
from velatura.span import Span
from velatura.style import Style
from velatura.training.fast.pictures import Pictures
from velatura.training.strokes import pool as pool_module
from velatura.training.strokes import training as training_module
from velatura.training.strokes.optimisation import StrokesOptimisation
from velatura.training.strokes.pool import PaintedPool, kept_apart, painter
from velatura.training.strokes.recipe import StrokesRecipe
from velatura.training.strokes.training import train_strokes
from velatura.training.training_log import TrainingLog

QUICK = Fast(size=64)
CONTENT = Picture.of(smooth_image(64, 80, 0), "content")
TINY = StrokesRecipe(minutes=0, rows=2, first_pictures=2, pool=3, held_out=2, warmup_steps=1, log_steps=1)


@pytest.fixture
def stroked(monkeypatch: pytest.MonkeyPatch) -> HouseBackbone:
    """The tiny house model with Magenta's own network for the strokes."""
    return stroked_house(monkeypatch)


def style(seed: int = 1) -> Style:
    return QUICK.fit(Picture.of(smooth_image(96, 64, seed), "style"), "style", RunContext(tiny_house()))


def painted(method: Fast, *regions: Region) -> np.ndarray:
    made = method.stylize([CONTENT], regions or [Region(style())], RunContext(tiny_house()))[0]
    return np.asarray(made.picture.convert("RGB")).astype(int)


# The network


@torch.no_grad()
def test_untrained_it_paints_as_magentas_with_standardised_vectors() -> None:
    encoder = tiny_house().pipeline.image_encoder
    pixels, raw = smooth_pixels(64, 64, 1), style_vectors(smooth_pixels(64, 64, 2))
    mean, std = encoder.mean.clone(), encoder.std.clone()
    try:
        encoder.mean.uniform_(-1, 1)
        encoder.std.uniform_(0.5, 2)
        network = untrained_stroke_network(encoder)
        vector = (raw - encoder.mean[:100]) / encoder.std[:100]
    finally:
        encoder.mean.copy_(mean)
        encoder.std.copy_(std)
    magentas = StrokeNetwork()
    magentas.load_state_dict(style_transformer(torch.device("cpu")).state_dict(), strict=False)
    for weight in magentas.skips.parameters():
        weight.zero_()
    expected = painted_enlarged(magentas, pixels, raw)
    assert torch.allclose(painted_enlarged(network, pixels, vector), expected, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("value", [-1.0, 0.0, 1.0])
def test_the_networks_cells_do_not_show(value: float) -> None:
    """In a smooth picture, waves along the axes that repeat every 4 pixels of the enlarged one are of the network's
    cells: less than half a level of 255 in all, and a fifth of what Magenta's layers make of the same weights.
    """
    network, magentas = load_stroke_network(HOUSE_FOLDER / STROKES_FILE, torch.device("cpu")), StyleTransformer()
    magentas.load_state_dict(network.state_dict(), strict=False)
    smooth, vector = smooth_pixels(256, 256, 1), torch.full((1, 100), value)

    def levels(picture: torch.Tensor) -> float:
        enlarged = torch.nn.functional.interpolate(picture, (384, 384), mode="bicubic").mean((0, 1))[48:-48, 48:-48]
        window = torch.hann_window(288)[:, None] * torch.hann_window(288)
        spectrum = torch.fft.fft2((enlarged - enlarged.mean()) * window).abs() * 2 / window.sum()
        return 127.5 * float(spectrum[72, 0] + spectrum[0, 72])

    found = levels(with_strokes(network, smooth, vector, 1.0))
    assert found < min(0.5, 0.2 * levels(painted_enlarged(magentas, smooth, vector)))


@torch.no_grad()
def test_a_passes_shift_moves_the_cells_and_nothing_else() -> None:
    """Two pixels further a picture is painted as there with the cells three enlarged pixels further."""
    network = load_stroke_network(HOUSE_FOLDER / STROKES_FILE, torch.device("cpu"))
    wide, vector = smooth_pixels(128, 136, 1), torch.zeros(1, 100)
    moved = painted_enlarged(network, wide[..., 2:130], vector)
    for shift, agrees in (((0, 1), True), ((0, 0), False)):
        there = painted_enlarged(network, wide[..., :128], vector, shift)
        difference = (there[..., 2:] - moved[..., :-2])[..., 24:-24, 24:-24].abs().mean()
        assert (difference < 0.01) == agrees


@torch.no_grad()
def test_a_share_is_between_the_picture_and_what_is_painted_over_it() -> None:
    network, pixels, vector = style_transformer(torch.device("cpu")), smooth_pixels(64, 64, 1), torch.zeros(1, 100)
    painted = (painted_enlarged(network, pixels, vector) + painted_enlarged(network, pixels, vector, (2, 2))) / 2
    over = pixels + coarse_in_colour(painted - pixels)
    assert over.shape == pixels.shape and not torch.allclose(over, pixels, atol=0.05)
    assert torch.equal(with_strokes(network, pixels, vector, 0.0), pixels)
    assert torch.allclose(with_strokes(network, pixels, vector, 1.0), over, atol=1e-6)
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., :32] = 0.5
    half = with_strokes(network, pixels, vector, mask)
    assert torch.equal(half[..., 32:], pixels[..., 32:])
    assert torch.allclose(half[..., :32], (pixels + over)[..., :32] / 2, atol=1e-6)


def test_strokes_are_fine_in_luma_and_coarse_in_chroma() -> None:
    hatching = 0.2 * (torch.arange(64) // 2 % 2 * 2.0 - 1).expand(1, 3, 64, 64)
    without_luma = torch.tensor([0.587, -0.299, 0.0])[:, None, None]
    inside = coarse_in_colour(hatching * without_luma)[..., 8:-8]
    assert inside.abs().max() < 0.1 * 0.2 * 0.587
    assert torch.allclose(coarse_in_colour(hatching), hatching, atol=1e-5)
    tint = without_luma.expand(1, 3, 64, 64)
    assert torch.allclose(coarse_in_colour(tint), tint, atol=1e-5)


def test_its_file_is_small_and_exact_and_refused_in_a_sentence(tmp_path: Path) -> None:
    network, path = StrokeNetwork(), tmp_path / STROKES_FILE
    save_stroke_network(path, network.state_dict())
    read = load_stroke_network(path, torch.device("cpu"))
    for name, value in network.state_dict().items():
        found = read.state_dict()[name]
        if value.ndim < 4:
            assert torch.equal(found, value.half().float())
        else:  # 255 steps over each kernel's own range
            assert bool(((found - value).abs().amax((1, 2, 3)) <= 0.505 / 127 * value.abs().amax((1, 2, 3))).all())
    save_stroke_network(path, read.state_dict())
    again = load_stroke_network(path, torch.device("cpu"))
    assert all(torch.allclose(again.state_dict()[name], value) for name, value in read.state_dict().items())
    assert not any(value.requires_grad for value in read.parameters())
    few = dict(list(network.state_dict().items())[1:])
    save_stroke_network(path, few)
    with pytest.raises(ModelError, match="holds no stroke network"):
        load_stroke_network(path, torch.device("cpu"))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ModelError, match="cannot be read"):
        load_stroke_network(path, torch.device("cpu"))


def test_a_models_folder_brings_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    house = tiny_house()
    fresh = HouseBackbone(house.pipeline, "tiny", house.device, house.dtype)
    monkeypatch.setattr(type(house.pipeline), "name_or_path", str(tmp_path))
    save_stroke_network(tmp_path / STROKES_FILE, StrokeNetwork().state_dict())
    assert isinstance(fresh.stroke_network, StrokeNetwork)
    (tmp_path / STROKES_FILE).unlink()
    assert HouseBackbone(house.pipeline, "tiny", house.device, house.dtype).stroke_network is None


# The method


def test_without_a_network_or_a_share_there_are_no_strokes(stroked: HouseBackbone) -> None:
    none, some = painted(dataclasses.replace(QUICK, strokes=0.0)), painted(QUICK)
    assert np.abs(some - none).mean() > 1
    stroked.stroke_network = None
    assert np.array_equal(painted(QUICK), none)


def test_a_manifest_tells_what_painted(stroked: HouseBackbone, monkeypatch: pytest.MonkeyPatch) -> None:
    def networks(**settings: float) -> Mapping[str, str]:
        monkeypatch.delitem(stroked.__dict__, "fast_networks")
        method = dataclasses.replace(QUICK, **settings)
        found: Mapping[str, str] = method.stylize([CONTENT], [Region(style())], context)[0].manifest["fast_networks"]
        return found

    context = RunContext(stroked)
    both = networks()
    assert set(both) == {"fast_adapter", "fast_strokes"} and networks() == both
    assert networks(strokes=0.0) == {"fast_adapter": both["fast_adapter"]}
    other = untrained_stroke_network(stroked.pipeline.image_encoder)
    torch.nn.init.zeros_(next(other.parameters()))
    monkeypatch.setattr(stroked, "stroke_network", other)
    assert networks()["fast_strokes"] != both["fast_strokes"]


def test_strength_zero_is_the_content_with_strokes_too(stroked: HouseBackbone) -> None:
    still = painted(dataclasses.replace(QUICK, strength=0.0))
    assert np.array_equal(still, np.asarray(CONTENT.image))


def test_each_region_gets_its_own_strokes(stroked: HouseBackbone) -> None:
    method = dataclasses.replace(QUICK, region_size="picture", refine=0.0, palette=0.0)
    left = parse_query("polygon:0,0;32,0;32,80;0,80")
    without = dataclasses.replace(method, strokes=0.0)
    one = painted(method, Region(style(), left))
    assert np.array_equal(one[:, 34:], np.asarray(CONTENT.image)[:, 34:])
    assert np.abs(one[:, :28] - painted(without, Region(style(), left))[:, :28]).mean() > 1
    alone, both = painted(method), painted(method, Region(style(7)), Region(style(), left))
    assert np.abs(alone[:, :28] - both[:, :28]).mean() < np.abs(alone[:, 36:] - both[:, 36:]).mean()


def test_a_region_whose_span_is_over_gets_none(stroked: HouseBackbone) -> None:
    early = Region(style(), span=Span(0.0, 0.6))
    assert np.array_equal(painted(QUICK, early), painted(dataclasses.replace(QUICK, strokes=0.0), early))


def test_houses_own_network_is_there_and_small() -> None:
    path = HOUSE_FOLDER / STROKES_FILE
    assert path.stat().st_size < 500_000
    network = load_stroke_network(path, torch.device("cpu"))
    pixels = smooth_pixels(64, 64, 1)
    one, other = (painted_enlarged(network, pixels, torch.full((1, 100), value)) for value in (1.0, -1.0))
    assert bool(one.isfinite().all()) and not torch.allclose(one, other, atol=0.05)


# Its training


def test_losses_are_zero_where_nothing_is_left_to_do() -> None:
    losses, picture = StrokeLosses(hed_trunk(), 1.0), smooth_pixels(64, 64, 3)
    own, other = losses.measured(picture), losses.measured(smooth_pixels(64, 64, 4))
    found = losses(picture, picture, picture, [own])
    assert found["structure"] == 0 and found["tones"] == 0
    assert found["gram"] < 1e-3 and found["texture"] < 0.03 and found["palette"] < 0.01
    apart = losses(picture, -picture, smooth_pixels(64, 64, 5), [other])
    assert all(apart[name] > 3 * found[name] for name in found)


def test_the_style_leaves_flat_places_alone() -> None:
    flat = torch.zeros(1, 3, 64, 64)
    flat[..., 40:] = smooth_pixels(64, 64, 3)[..., 40:]
    wanted = [StrokeLosses(hed_trunk(), 1.0).measured(smooth_pixels(64, 64, 4))]
    shares = []
    for push in (1.0, 0.0):
        made = flat.clone().requires_grad_(True)
        found = StrokeLosses(hed_trunk(), push)(made, flat, flat, wanted)
        found["gram"].backward()  # type: ignore[no-untyped-call]
        assert made.grad is not None
        shares.append(made.grad[..., :16].abs().sum() / made.grad.abs().sum())
    assert shares[1] < 0.2 * shares[0]


def test_the_pool_grows_and_then_replaces_its_oldest() -> None:
    numbers = iter(range(100))
    measures = StrokeLosses(hed_trunk(), 1.0).measured(smooth_pixels(64, 64, 4))

    def make() -> Painted:
        picture = torch.full((3, 8, 8), next(numbers), dtype=torch.uint8)
        return Painted(picture, picture, torch.zeros(100), measures)

    pool = PaintedPool(make, [make(), make()])
    for _ in range(3):
        pool.renew(3)
    assert [int(each.content[0, 0, 0]) for each in pool.kept] == [3, 4, 2]
    drawn = pool.draw(5, random.Random(0))
    assert drawn.contents.shape == (5, 3, 8, 8) and drawn.vectors.shape == (5, 100) and len(drawn.styles) == 5
    assert float(drawn.contents.max()) <= 4 / 127.5 - 1 + 1e-6


def test_one_of_twenty_pictures_is_never_trained_on() -> None:
    photos, paintings = ([Path(f"{kind}/{number:02}.png") for number in range(41)] for kind in ("photo", "painting"))
    for order in (1, -1):
        trained_on, checked_with = kept_apart((photos[::order], paintings))
        for whole, left, kept in zip((photos, paintings), trained_on, checked_with, strict=True):
            assert kept == [whole[0], whole[20], whole[40]] and sorted({*left, *kept}) == whole and len(left) == 38
    with pytest.raises(PictureError, match="two photos and two paintings"):
        kept_apart((photos, paintings[:1]))


def test_what_is_painted_is_what_the_method_gives_its_strokes(
    pictures: tuple[list[Path], list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "SIDE", 64)
    chance = random.Random(3)
    photos, paintings = (Pictures(paths, chance) for paths in pictures)
    losses = StrokeLosses(hed_trunk(), 1.0)
    made = painter(tiny_house(), (photos, paintings), losses.measured, chance)()
    again = random.Random(3)
    photos, paintings = (Pictures(paths, again) for paths in pictures)
    photo, painting = photos.crop(photos.draw(), 64), paintings.whole(paintings.draw())
    context = RunContext(tiny_house(), again.randrange(2**20))
    own = Fast().fit(Picture.of(pixels_to_image(painting), "painting"), "painting", context)
    content = Picture.of(pixels_to_image(photo), "photo")
    working = WorkingPicture(content, content.size, Placement.of([Region(own)], content))
    with torch.no_grad():
        expected = Fast().before_strokes(working, [painted_style(own, tiny_house())], context)
    for found, wanted in zip((made.content, made.given), expected, strict=True):
        assert (found.float() / 127.5 - 1 - wanted[0].clamp(-1, 1)).abs().max() < 0.005
    assert torch.equal(made.vector, own.tensors["vector"][0])


def test_steps_lower_the_losses_and_move_the_network_only(pictures: tuple[list[Path], list[Path]]) -> None:
    torch.manual_seed(0)
    house = tiny_house()
    optimisation = StrokesOptimisation(house, dataclasses.replace(TINY, average_decay=0.0))
    trunk = {name: value.clone() for name, value in hed_trunk().state_dict().items()}
    measures = optimisation.optimiser.losses.measured(smooth_pixels(64, 64, 4))
    picture = ((smooth_pixels(64, 64, 5)[0] + 1) * 127.5).byte()
    given = joined([Painted(picture, picture, torch.zeros(100), measures)])

    def total() -> float:
        found = optimisation.check([given])
        return sum(TINY.weights[name.removeprefix("held_out_")] * value for name, value in found.items())

    start = total()
    for _ in range(6):
        optimisation.step(given, 1e-3)
    assert total() < start
    assert optimisation.take().keys() == TINY.weights.keys() and optimisation.take() == {}
    assert all(torch.equal(value, trunk[name]) for name, value in hed_trunk().state_dict().items())


def test_a_training_ends_by_itself_and_goes_on(
    pictures: tuple[list[Path], list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "SIDE", 64)
    out = tmp_path / "run"
    path = train_strokes(tiny_house(), pictures, out, TINY, False, Silent())
    first = load_stroke_network(path, torch.device("cpu")).state_dict()
    own = untrained_stroke_network(tiny_house().pipeline.image_encoder).state_dict()
    assert any(not torch.equal(value, own[name].half().float()) for name, value in first.items() if value.ndim == 1)
    with pytest.raises(ModelError, match="There is a run in"):
        train_strokes(tiny_house(), pictures, out, TINY, False, Silent())
    train_strokes(tiny_house(), pictures, out, TINY, True, Silent())
    assert TrainingLog(out).load()["step"] == 2
    assert len((out / "log.jsonl").read_text().splitlines()) == 4
    with pytest.raises(ModelError, match="no checkpoint"):
        train_strokes(tiny_house(), pictures, tmp_path / "none", TINY, True, Silent())
    former = TrainingLog(out).load()
    del former["strokes"]["skips.0.weight"]
    TrainingLog(tmp_path / "former").save(former)
    with pytest.raises(ModelError, match="other layers: give another --out"):
        train_strokes(tiny_house(), pictures, tmp_path / "former", TINY, True, Silent())
    monkeypatch.setattr(tiny_house(), "fast_painter", None)
    with pytest.raises(ModelError, match="no fast adapter"):
        train_strokes(tiny_house(), pictures, tmp_path / "bare", TINY, False, Silent())
    assert not (tmp_path / "bare").exists()


def test_ctrl_c_keeps_what_was_trained(
    pictures: tuple[list[Path], list[Path]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(pool_module, "SIDE", 64)
    interrupt_training(monkeypatch, 2)
    with pytest.raises(KeyboardInterrupt):
        train_strokes(tiny_house(), pictures, tmp_path / "run", dataclasses.replace(TINY, minutes=60), False, Silent())
    assert TrainingLog(tmp_path / "run").load()["step"] == 2
    assert "go on with --resume" in caplog.text


def test_bad_files_are_told_before_anything_is_painted(
    pictures: tuple[list[Path], list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_module, "_painter", lambda *_: pytest.fail("painted"))
    (tmp_path / "file").write_text("kept")
    with pytest.raises(ModelError, match="file is a file, and a folder is needed"):
        train_strokes(tiny_house(), pictures, tmp_path / "file", TINY, False, Silent())
    assert (tmp_path / "file").read_text() == "kept"
    (tmp_path / "words.png").write_text("no picture")
    with pytest.raises(PictureError, match=r"words\.png"):
        photos = [*pictures[0], tmp_path / "words.png"]
        train_strokes(tiny_house(), (photos, pictures[1]), tmp_path / "run", TINY, False, Silent())
    assert not (tmp_path / "run").exists()


def test_the_command_trains_and_refuses_in_a_sentence(
    pictures: tuple[list[Path], list[Path]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(load, "load_backbone", lambda *_: tiny_house())
    monkeypatch.setattr(pool_module, "SIDE", 64)
    monkeypatch.setattr(
        "velatura.training.strokes.recipe.StrokesRecipe", lambda minutes, seed: dataclasses.replace(TINY, seed=seed)
    )
    photos, paintings = (str(paths[0].parent) for paths in pictures)
    asked = ("train-house", "strokes", "--photos", photos, "--paintings", paintings, "--out", str(tmp_path / "r"))
    assert run_command(monkeypatch, *asked, "--minutes", "0") == 0
    assert (tmp_path / "r" / STROKES_FILE).is_file()
    capsys.readouterr()
    assert run_command(monkeypatch, "train-house", "strokes") == 2
    assert "needs --photos and --paintings" in capsys.readouterr().err
