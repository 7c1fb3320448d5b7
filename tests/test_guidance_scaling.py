"""Limited, projected and channel-wise guidance against closed forms, and guidance that takes them."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from velatura.diffusion.guidance import classifier_free, composed
from velatura.diffusion.guidance_scaling import GuidanceScaling, guided_x0, limited, projected, scaled_guidance
from velatura.diffusion.inversion import Predict
from velatura.errors import SettingError
from velatura.methods.diffstyler import DiffStyler
from velatura.methods.guided import Guided
from velatura.methods.s2prest.method import S2PreST
from velatura.models.backbone import Backbone, Conditioning, Prediction
from velatura.models.noise_schedule import NoiseSchedule

PLAIN = GuidanceScaling()
EVERYTHING = GuidanceScaling(0.2, 0.1, (0.0, 1.0), (1.0, 0.3, 0.3, 0.5), (1.0, 0.0, 0.5, 2.0))
SCHEDULE = NoiseSchedule(torch.linspace(0.99, 0.01, 10).double())


def predictions(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Two predictions of two pictures, four channels each."""
    generator = torch.Generator().manual_seed(seed)
    both = torch.randn((2, 2, 4, 6, 5), generator=generator, dtype=torch.float64)
    return both[0], both[1]


def test_the_defaults_are_plain_guidance() -> None:
    conditional, unconditional = predictions()
    result = guided_x0(conditional, unconditional, 3.0, PLAIN)
    assert torch.allclose(result, unconditional + 3 * (conditional - unconditional))
    assert GuidanceScaling.parse("") == GuidanceScaling.parse("plain") == PLAIN


@pytest.mark.parametrize("scaling", [PLAIN, EVERYTHING])
def test_a_scale_of_1_is_the_conditional_prediction(scaling: GuidanceScaling) -> None:
    conditional, unconditional = predictions()
    assert torch.equal(guided_x0(conditional, unconditional, 1.0, scaling), conditional)


def test_equal_predictions_stay_as_they_are() -> None:
    conditional, _ = predictions()
    assert torch.equal(guided_x0(conditional, conditional, 8.0, EVERYTHING), conditional)


def test_without_the_parallel_part_the_difference_is_orthogonal() -> None:
    conditional, unconditional = predictions()
    parallel, orthogonal = projected(conditional - unconditional, conditional)
    assert torch.allclose(parallel + orthogonal, conditional - unconditional)
    assert torch.allclose((orthogonal * conditional).sum((1, 2, 3)), torch.zeros(2, dtype=torch.float64), atol=1e-12)
    result = guided_x0(conditional, unconditional, 5.0, GuidanceScaling(parallel=0.0))
    assert torch.allclose(result - conditional, 4 * orthogonal)


def test_without_the_parallel_part_a_pure_scaling_adds_nothing() -> None:
    conditional, _ = predictions()
    result = guided_x0(conditional, 0.5 * conditional, 8.0, GuidanceScaling(parallel=0.0))
    assert torch.allclose(result, conditional)


def test_the_limit_holds_for_each_picture_and_any_size() -> None:
    conditional, unconditional = predictions()
    difference = (conditional - unconditional) * torch.tensor([1.0, 1e-3], dtype=torch.float64)[:, None, None, None]
    held = limited(difference, 0.1)
    assert held[0].square().mean().sqrt().item() == pytest.approx(0.1)
    assert torch.equal(held[1], difference[1])
    assert torch.allclose(limited(difference.repeat(1, 1, 2, 2), 0.1), held.repeat(1, 1, 2, 2))


def test_channel_weights_scale_each_channels_difference() -> None:
    conditional, unconditional = predictions()
    weighted = guided_x0(conditional, unconditional, 3.0, GuidanceScaling(channels=(1.0, 0.5, 0.0, 1.0)))
    plain = guided_x0(conditional, unconditional, 3.0, PLAIN)
    assert torch.allclose(weighted[:, [0, 3]], plain[:, [0, 3]])
    assert torch.allclose(weighted[:, 1] - conditional[:, 1], (plain[:, 1] - conditional[:, 1]) / 2)
    assert torch.equal(weighted[:, 2], conditional[:, 2])


def test_a_constant_difference_is_removed_and_an_alternating_one_kept() -> None:
    """A constant AC coefficient is an 8-px grid: it is removed, also at the borders; a checkerboard of signs stays."""
    unconditional, scaling = torch.zeros(1, 2, 8, 8), GuidanceScaling(local_mean=(1.0, 0.0))
    everywhere = guided_x0(torch.ones(1, 2, 8, 8), unconditional, 2.0, scaling)
    assert torch.allclose(everywhere[:, 1], torch.ones(1, 8, 8))
    assert torch.allclose(everywhere[:, 0], torch.full((1, 8, 8), 2.0))
    board = (-1.0) ** (torch.arange(8)[:, None] + torch.arange(8)).expand(1, 2, 8, 8)
    assert (guided_x0(board, unconditional, 2.0, scaling) - board)[0, 1].abs().min() > 0.85


def test_guiding_noise_and_guiding_x0_agree_for_plain_guidance() -> None:
    conditional, unconditional = predictions()
    latents = torch.randn(conditional.shape, dtype=torch.float64)
    noise = scaled_guidance(latents, (conditional, unconditional), 0.3, 5.0, PLAIN)
    assert torch.allclose(noise, unconditional + 5 * (conditional - unconditional))


def test_a_text_is_read() -> None:
    text = "parallel=0.5, limit=0.3, interval=0.1:0.9, channels=1:.5, local_mean=1:0"
    assert GuidanceScaling.parse(text) == GuidanceScaling(0.5, 0.3, (0.1, 0.9), (1.0, 0.5), (1.0, 0.0))
    assert GuidanceScaling.parse("channels=0.5").channels == (0.5,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("parallel=2", "from 0 to 1"),
        ("limit=0", "over 0"),
        ("limit=nan", "over 0"),
        ("interval=0.6:0.2", "two rising shares"),
        ("interval=0.6", "two rising shares"),
        ("channels=1:-1", "from 0 to 10"),
        ("channels=1:inf", "from 0 to 10"),
        ("parallel=0.1:0.2", "cannot be read at 'parallel=0.1:0.2'"),
        ("strength=1", "cannot be read at 'strength=1'"),
        ("limit", "cannot be read at 'limit'"),
        ("plain,limit=1", "cannot be read at 'plain'"),
    ],
)
@pytest.mark.parametrize("method", [Guided, S2PreST, DiffStyler])
def test_a_bad_text_is_refused_by_every_method(method: Callable[..., Any], text: str, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        method(guidance_scaling=text)


class Shifting:
    """A backbone whose noise is the latents plus its conditioning, and which counts what it is asked."""

    schedule = SCHEDULE
    latent_channels = 4

    def __init__(self) -> None:
        self.asked: list[int] = []

    def predict(self, latents: Tensor, timestep: int, conditioning: Conditioning) -> Prediction:
        self.asked.append(len(latents))
        return Prediction(latents + conditioning.expanded(len(latents)).states[:, :, :, None].to(latents))


def shift(value: float) -> Conditioning:
    return Conditioning(torch.full((1, 4, 1), value))


def one_in_all(backbone: Backbone, scale: float, scaling: GuidanceScaling) -> Predict:
    return composed(backbone, [shift(3.0)], torch.ones(1, 1, 1, 1), shift(1.0), scale, scaling)


def alone(backbone: Backbone, scale: float, scaling: GuidanceScaling) -> Predict:
    return classifier_free(backbone, shift(3.0), shift(1.0), scale, scaling)


@pytest.mark.parametrize("guide", [alone, one_in_all])
def test_guidance_takes_the_weights_of_channels(guide: Callable[..., Predict]) -> None:
    x = torch.randn(1, 4, 3, 3)
    noise = guide(Shifting(), 5.0, GuidanceScaling(channels=(1.0, 0.5, 0.0, 1.0)))(x, 4).noise
    moved = (noise - x).mean((0, 2, 3))
    assert torch.allclose(moved, torch.tensor([11.0, 7.0, 3.0, 11.0]), atol=1e-4)


@pytest.mark.parametrize("guide", [alone, one_in_all])
def test_outside_the_interval_the_condition_stands_alone(guide: Callable[..., Predict]) -> None:
    x, scaling = torch.randn(1, 4, 3, 3), GuidanceScaling(interval=(0.2, 0.6))
    for timestep, pull in ((0, 3.0), (2, 11.0), (6, 11.0), (7, 3.0)):
        noise = guide(Shifting(), 5.0, scaling)(x, timestep).noise
        assert torch.allclose(noise - x, torch.full_like(x, pull), atol=1e-4)


def test_outside_the_interval_one_prediction_is_computed() -> None:
    backbone = Shifting()
    classifier_free(backbone, shift(3.0), shift(1.0), 5.0, GuidanceScaling(interval=(0.0, 0.5)))(
        torch.ones(1, 4, 3, 3), 9
    )
    assert backbone.asked == [1]


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("guide", [alone, one_in_all])
def test_a_scale_up_to_1_is_plain_bit_for_bit(guide: Callable[..., Predict], scale: float) -> None:
    x = torch.randn(1, 4, 3, 3)
    scaled, plain = (guide(Shifting(), scale, scaling)(x, 4).noise for scaling in (EVERYTHING, PLAIN))
    assert torch.equal(scaled, plain)


def test_regions_are_scaled_each_for_itself() -> None:
    """In the shares of two regions stands what each alone would give; where none is, the unconditional noise."""
    x, scaling = torch.randn(1, 4, 2, 3), EVERYTHING
    shares = torch.zeros(2, 1, 2, 3)
    shares[0, :, :, 0] = shares[1, :, :, 1] = 1
    noise = composed(Shifting(), [shift(3.0), shift(-2.0)], shares, shift(1.0), 5.0, scaling)(x, 4).noise
    first, second = (
        classifier_free(Shifting(), shift(value), shift(1.0), 5.0, scaling)(x, 4).noise for value in (3.0, -2.0)
    )
    assert torch.allclose(noise[..., 0], first[..., 0], atol=1e-5)
    assert torch.allclose(noise[..., 1], second[..., 1], atol=1e-5)
    assert torch.equal(noise[..., 2], (x + 1)[..., 2])


@pytest.mark.parametrize("guide", [alone, one_in_all])
def test_weights_of_another_models_channels_are_refused(guide: Callable[..., Predict]) -> None:
    with pytest.raises(SettingError, match=r"channels .* 3 weights, but this model's latents 4 channels"):
        guide(Shifting(), 5.0, GuidanceScaling(channels=(1.0, 1.0, 1.0)))


def test_what_a_model_recommends_is_taken_where_nothing_was_set() -> None:
    model = SimpleNamespace(factor=8, recommended_settings={"guidance_scaling": "limit=0.3"})
    other = SimpleNamespace(factor=8, recommended_settings={})
    for method in (Guided, S2PreST, DiffStyler):
        for asked, backbone, expected in (
            ("", model, 0.3),
            ("", other, math.inf),
            ("plain", model, math.inf),
            ("limit=2", model, 2.0),
        ):
            chosen = method(guidance_scaling=asked).resolved(backbone)
            assert GuidanceScaling.parse(chosen.guidance_scaling).limit == expected
