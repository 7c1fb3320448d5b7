"""What loss-guided diffusion starts from: inversion, noise, or what the fast method paints."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.conftest import smooth_image
from tests.tiny_house import tiny_house, tiny_studio
from velatura.app.recorded import Recorded
from velatura.app.report.inversion import SCORE, inversion_score
from velatura.errors import ModelError, SettingError
from velatura.methods.context import RunContext
from velatura.methods.fast_painting import Painting, painted_latents
from velatura.methods.guided import Guided, starts
from velatura.methods.guided.starts import start_latents
from velatura.models.house.backbone import HouseBackbone
from velatura.models.house.stroke_network import untrained_stroke_network
from velatura.picture import Picture, image_to_pixels
from velatura.regions import Placement, Region, parse_query
from velatura.style import Style

CONTENT = Picture.of(smooth_image(64, 80, 0), "content")
PICTURE = Picture.of(smooth_image(96, 64, 1), "style")
PAINTED = Guided(start="fast", size=64, steps=8)
RECOMMENDED = {"guided.start": "fast"}


def context(seed: int = 0) -> RunContext[HouseBackbone]:
    return RunContext(tiny_house(), seed)


@cache
def style(seed: int = 1) -> Style:
    return PAINTED.fit(Picture.of(smooth_image(96, 64, seed), f"style {seed}"), f"style {seed}", context())


def in_words() -> Style:
    house = tiny_house()
    return Style("ink", "guided", house.name, house.fingerprint, {}, {"text": "an ink drawing"})


def recommending(model: Any = None) -> HouseBackbone:
    house = model or tiny_house()
    fresh = HouseBackbone(house.pipeline, "tiny", house.device, house.dtype, recommended_settings=RECOMMENDED)
    fresh.__dict__["fast_painter"] = house.fast_painter
    return fresh


def pixels(method: Guided, *regions: Region, seed: int = 0) -> np.ndarray:
    made = method.stylize([CONTENT], regions or [Region(style())], context(seed))[0]
    return np.asarray(made.picture.convert("RGB")).astype(int)


def test_a_recommended_painting_is_taken_where_it_can_be() -> None:
    house = recommending()
    assert Guided().resolved(tiny_house(), [style()]).start == "inversion"
    assert Guided().resolved(house).start == "fast"
    assert Guided().resolved(house, [style()]).start == "fast"
    assert Guided(start="noise").resolved(house, [style()]).start == "noise"
    assert Guided().resolved(house, [style(), in_words()]).start == "inversion"
    assert Guided(controlnet="folder").resolved(house, [style()]).start == "inversion"
    house.__dict__["fast_painter"] = None
    assert Guided().resolved(house, [style()]).start == "inversion"
    assert Guided(start="fast").resolved(house, [style()]).start == "fast"


def test_presets_of_the_sources_never_start_from_a_painting() -> None:
    for name in ("poster", "zecon"):
        assert Guided(**Guided.presets[name]).resolved(recommending(), [style()]).start != "fast"


def test_a_painting_that_cannot_be_is_refused() -> None:
    with pytest.raises(SettingError, match="the style 'ink' is in words: leave start out"):
        pixels(PAINTED, Region(in_words()))
    bare = recommending()
    bare.__dict__["fast_painter"] = None
    with pytest.raises(ModelError, match="has no fast adapter"):
        PAINTED.check_backbone(bare)
    with pytest.raises(SettingError, match="start must be"):
        Guided(start="slow")


def test_the_run_is_shorter_than_from_an_inversion() -> None:
    assert Guided(start="fast").run_steps == 10 and Guided(start="inversion").run_steps == 24
    assert Guided(**Guided.presets["quick"]).run_steps == 3
    schedule = tiny_house().schedule
    assert Guided(start="fast").painting.sampler(schedule).timesteps == (800, 600, 400, 200)
    assert Guided(start="fast", strength=1.0).painting == Painting(1.0, 4)


def test_it_starts_from_the_inverted_painting() -> None:
    placement = Placement.of([Region(style())], CONTENT)
    latents = torch.randn(1, 8, 8, 8, generator=torch.Generator().manual_seed(3))
    house = tiny_house()
    vector = house.style_vector(image_to_pixels(PICTURE.image, (64, 96)))
    painted = painted_latents(latents, placement, [house.painted_style(vector)], PAINTED.painting, context())
    expected = start_latents(painted, placement, replace(PAINTED, start="inversion", strength=0.25), context())
    assert torch.allclose(start_latents(latents, placement, PAINTED, context()), expected, atol=1e-5)
    assert not torch.allclose(painted, latents, atol=1e-2)


def test_strokes_are_painted_over_a_start_inside_of_regions(monkeypatch: pytest.MonkeyPatch) -> None:
    house = tiny_house()
    latents = torch.randn(1, 8, 8, 8, generator=torch.Generator().manual_seed(3))
    stroked, left = replace(PAINTED, strokes=0.5, strength=1.0), parse_query("polygon:0,0;32,0;32,96;0,96")
    placement = Placement.of([Region(style(), left)], CONTENT)

    def painted(settings: Guided) -> torch.Tensor:
        return starts._painted(latents, placement, settings, context())

    plain = painted(replace(stroked, strokes=0.0))
    assert torch.equal(painted(stroked), plain)  # the model has no stroke network
    monkeypatch.setattr(house, "stroke_network", untrained_stroke_network(house.pipeline.image_encoder))
    reached = placement.reached((8, 8))[0, 0].bool()
    assert 0 < int(reached.sum()) < 64
    assert torch.equal(painted(stroked)[..., ~reached], plain[..., ~reached])
    assert (painted(stroked) - plain)[..., reached].abs().mean() > 0.01
    assert torch.equal(painted(replace(stroked, strength=0.0)), latents)
    with pytest.raises(SettingError, match="strokes are a setting of start=fast, not of noise"):
        Guided(start="noise", strokes=0.6)
    assert Guided(start="noise").start == Guided(start="noise", strokes=0.0).start == "noise"


def test_a_manifest_tells_what_painted_the_start() -> None:
    starts_from = {"fast": {"fast_adapter"}, "inversion": set(), "noise": set()}
    for start, expected in starts_from.items():
        made = replace(PAINTED, start=start, steps=2).stylize([CONTENT], [Region(style())], context())[0]
        assert set(made.manifest.get("fast_networks", {})) == expected


def test_strength_zero_is_the_content_and_a_seed_repeats() -> None:
    content = np.asarray(CONTENT.image.convert("RGB")).astype(int)
    still = pixels(replace(PAINTED, strength=0.0))
    assert np.abs(still - pixels(replace(PAINTED, strength=0.0, start="inversion"))).max() == 0
    assert np.abs(still - content).mean() < np.abs(pixels(PAINTED) - content).mean()
    assert (pixels(PAINTED) == pixels(PAINTED)).all()
    assert (pixels(PAINTED) != pixels(PAINTED, seed=1)).any()


def test_the_style_vector_decides_what_is_painted() -> None:
    free = replace(PAINTED, weights={}, palette=0.0, contrast=0.0, prompt="a painting in the style of *")
    bare = [replace(style(seed), tensors={**style(seed).tensors, "word": style(1).tensors["word"]}) for seed in (1, 5)]
    assert (pixels(free, Region(bare[0])) != pixels(free, Region(bare[1]))).any()


def test_a_mix_with_itself_is_painted_as_the_style() -> None:
    latents = torch.randn(1, 8, 8, 8, generator=torch.Generator().manual_seed(3))
    mixed = PAINTED.mix([(style(), 0.3), (style(), 0.7)])
    found, expected = (
        start_latents(latents, Placement.of([Region(each)], CONTENT), PAINTED, context()) for each in (mixed, style())
    )
    assert torch.allclose(found, expected, atol=1e-4)


def test_a_region_leaves_the_rest() -> None:
    content = np.asarray(CONTENT.image.convert("RGB")).astype(int)
    found = pixels(PAINTED, Region(style(), parse_query("box:0,0,32,64")))
    assert (found[:, 40:] == content[:, 40:]).all() and (found[:, :24] != content[:, :24]).any()


def test_an_inversion_is_measured_only_where_the_content_is_inverted(tmp_path: Path) -> None:
    for start, names in (("fast", set[str]()), ("noise", set[str]()), ("inversion", {SCORE})):
        made = replace(PAINTED, start=start).stylize([CONTENT], [Region(style())], context())[0]
        recorded = Recorded.of(made.save(tmp_path / f"{start}.png"))
        assert set(inversion_score(tiny_studio(tmp_path), recorded, CONTENT)) == names
