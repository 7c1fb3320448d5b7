"""Regions on rectified-flow transformers: where a style goes, what stays, and what is predicted where."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tests.conftest import smooth_image
from tests.tiny_flow import load_tiny_flow
from velatura.app.studio import text_style
from velatura.methods.base import Stylization
from velatura.methods.context import RunContext
from velatura.methods.guided import Guided
from velatura.methods.latent_regions import regions_of_steps
from velatura.models.flow import FlowBackbone
from velatura.picture import Picture
from velatura.regions import Placement, Region, parse_query
from velatura.span import Span
from velatura.style import Style

CONTENT = Picture.of(smooth_image(64, 96), "content")
LEFT, RIGHT = (parse_query(f"polygon:{x},0;{x + 48},0;{x + 48},64;{x},64") for x in (0, 48))
QUICK: dict[str, Any] = {"steps": 4, "strength": 0.75, "size": 64, "weights": {"gram": 1.0, "palette": 1.0}}


@pytest.fixture(scope="module", params=["flux", "sd35"])
def backbone(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> FlowBackbone:
    return load_tiny_flow(request.param, tmp_path_factory.mktemp(request.param))


def style(backbone: FlowBackbone, seed: int = 1) -> Style:
    picture = Picture.of(smooth_image(64, 64, seed), f"style {seed}")
    return Guided(**QUICK).fit(picture, picture.name, RunContext(backbone))


def run(backbone: FlowBackbone, *regions: Region, **settings: Any) -> Stylization:
    return Guided(**{**QUICK, **settings}).stylize([CONTENT], regions, RunContext(backbone))[0]


def array(made: Stylization) -> np.ndarray:
    return np.asarray(made.picture.convert("RGB")).astype(int)


def test_outside_a_region_the_contents_bytes_stay(backbone: FlowBackbone) -> None:
    content = np.asarray(CONTENT.image.convert("RGB")).astype(int)
    made = array(run(backbone, Region(style(backbone), RIGHT)))
    assert np.array_equal(made[:, :44], content[:, :44])
    assert np.abs(made[:, 52:] - content[:, 52:]).mean() > 3


def test_each_region_goes_to_its_own_styles_colours(backbone: FlowBackbone) -> None:
    def means(left: int, right: int) -> list[np.ndarray]:
        regions = Region(style(backbone, left), LEFT), Region(style(backbone, right), RIGHT)
        made = array(run(backbone, *regions, colours="style"))
        return [made[:, :40].mean((0, 1)), made[:, 56:].mean((0, 1))]

    wanted = {seed: np.asarray(smooth_image(64, 64, seed)).astype(int).mean((0, 1)) for seed in (1, 2)}
    for seeds in ((1, 2), (2, 1)):
        for found, own, other in zip(means(*seeds), seeds, seeds[::-1], strict=True):
            assert np.abs(found - wanted[own]).mean() < 0.5 * np.abs(found - wanted[other]).mean()


def test_two_adjoining_spans_are_one_region_and_an_early_end_keeps_what_was_made(backbone: FlowBackbone) -> None:
    made = style(backbone)
    whole = array(run(backbone, Region(made, RIGHT)))
    split = (Region(made, RIGHT, span=Span(0.0, 0.5)), Region(made, RIGHT, span=Span(0.5, 1.0)))
    assert np.abs(array(run(backbone, *split)) - whole).max() <= 1
    early = array(run(backbone, Region(made, RIGHT, span=Span(0.0, 0.5))))
    content = np.asarray(CONTENT.image.convert("RGB")).astype(int)
    assert not np.array_equal(early, whole) and np.abs(early - content)[:, 52:].mean() > 1


@torch.no_grad()
def test_the_noise_is_each_regions_own_in_its_share(backbone: FlowBackbone) -> None:
    method = Guided(**QUICK, prompt="*", guidance_scale=3.0)
    regions = [
        Region(text_style("a cat", method), LEFT),
        Region(text_style("watercolour", method), RIGHT),
    ]
    latents = torch.randn((1, 4, 8, 12), generator=torch.Generator().manual_seed(0))
    steps = regions_of_steps(Placement.of(regions, CONTENT), latents, (500,))
    found = method.predictor_of_steps(regions, steps, backbone)(latents, 500).noise

    def noise(prompt: str) -> torch.Tensor:
        return backbone.predict(latents, 500, backbone.encode_prompt([prompt])).noise

    without = noise("")
    shares = steps[500].shares
    expected = without + 3 * sum(
        share * (noise(prompt) - without) for share, prompt in zip(shares, ("a cat", "watercolour"), strict=True)
    )
    assert torch.allclose(found, expected, atol=1e-4)
    assert not torch.allclose(noise("a cat"), noise("watercolour"), atol=1e-3)
