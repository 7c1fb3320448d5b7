"""Inversion, sampling and guidance against closed forms: denoisers whose answers are known exactly."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from diffusers import DDIMScheduler
from torch import Tensor

from velatura.diffusion.guidance import classifier_free, composed
from velatura.diffusion.inversion import Predict, denoise_exactly, invert
from velatura.diffusion.sampling import Moment, denoise, towards
from velatura.diffusion.schedules import (
    SAMPLERS,
    add_noise,
    clean_of,
    ddim_levels,
    make_sampler,
    noise_of,
    steps_of_strength,
)
from velatura.errors import SettingError
from velatura.models.backbone import Condition

BASE = DDIMScheduler(
    beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", set_alpha_to_one=False, steps_offset=1
)
ABARS = BASE.alphas_cumprod.double()


def point_denoiser(point: Tensor):
    """The exact noise prediction when every picture is ``point``."""
    return lambda x, t: noise_of(x, point, float(ABARS[t]))


def gaussian_denoiser(mean: float, variance: float):
    """The exact noise prediction E[eps | x] for data N(mean, variance), independently in every element."""

    def predict(x: Tensor, t: int) -> Tensor:
        abar = float(ABARS[t])
        return (1 - abar) ** 0.5 * (x - abar**0.5 * mean) / (abar * variance + 1 - abar)

    return predict


def test_levels_are_stable_diffusions() -> None:
    levels = ddim_levels(ABARS, 50)
    assert levels.timesteps[:3] == (1, 21, 41) and levels.timesteps[-1] == 981
    assert levels.abars[0] == float(ABARS[0]) and levels.abars[1] == float(ABARS[1])
    with pytest.raises(SettingError, match="from 1 to 1000"):
        ddim_levels(ABARS, 0)


def test_strength_is_rounded_not_truncated() -> None:
    assert int(0.58 * 50) == 28
    assert steps_of_strength(50, 0.58) == 29
    with pytest.raises(SettingError):
        steps_of_strength(50, 1.01)


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_finds_the_only_picture(name: str) -> None:
    point = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0)).double()
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1)).double()
    found = denoise(point_denoiser(point), noise, make_sampler(name, BASE), 20)
    # The schedule ends at a little noise (abar[0] = 0.99915), of which this much can be left.
    assert (found - point).abs().max() < 0.15


def test_point_mass_is_sampled_to_the_last_digit() -> None:
    point = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0)).double()
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1)).double()
    levels = ddim_levels(ABARS, 10, final_abar=1.0)
    start = add_noise(point, noise, levels.abars[-1])
    assert torch.allclose(denoise_exactly(point_denoiser(point), start, levels), point, atol=1e-10)


def test_gaussian_sampling_is_the_product_of_its_linear_steps() -> None:
    mean, variance = 0.7, 0.3
    levels = ddim_levels(ABARS, 25)
    x = torch.linspace(-3, 3, 7).double().reshape(1, 1, 1, 7)
    factor, offset = 1.0, 0.0
    for above, below in zip(reversed(levels.abars[1:]), reversed(levels.abars[:-1]), strict=True):
        # eps = k (x - sqrt(abar) mean); x' = sqrt(below) (x - s eps) / a + sqrt(1 - below) eps
        k = (1 - above) ** 0.5 / (above * variance + 1 - above)
        gain = (below / above) ** 0.5 + k * ((1 - below) ** 0.5 - (below * (1 - above) / above) ** 0.5)
        shift = ((below / above) ** 0.5 - gain) * above**0.5 * mean
        factor, offset = gain * factor, gain * offset + shift
    sampled = denoise_exactly(gaussian_denoiser(mean, variance), x, levels)
    assert torch.allclose(sampled, factor * x + offset, atol=1e-12)


def test_the_loop_with_ddim_equals_the_plain_steps() -> None:
    x = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(2)).double()
    predict = gaussian_denoiser(0.2, 0.5)
    looped = denoise(predict, x, make_sampler("ddim", BASE), 20)
    plain = denoise_exactly(predict, x, ddim_levels(ABARS, 20))
    assert torch.allclose(looped, plain, atol=1e-6)  # the scheduler keeps its abars in float32


def test_corrected_inversion_is_exact_and_naive_is_not() -> None:
    x = torch.randn(1, 1, 4, 4, generator=torch.Generator().manual_seed(3)).double()
    predict, levels = gaussian_denoiser(0.1, 0.4), ddim_levels(ABARS, 20)
    naive = denoise_exactly(predict, invert(predict, x, levels).start, levels)
    exact = denoise_exactly(predict, invert(predict, x, levels, corrections=60).start, levels)
    assert (exact - x).abs().max() < 1e-10
    assert (naive - x).abs().max() > 1e-3
    assert len(invert(predict, x, levels).latents) == 21


def test_dense_gaussian_inversion_gives_white_noise() -> None:
    generator = torch.Generator().manual_seed(4)
    x = 0.5 + 0.3 * torch.randn(1, 1, 100, 100, generator=generator).double()
    start = invert(gaussian_denoiser(0.5, 0.09), x, ddim_levels(ABARS, 1000)).start
    assert abs(start.mean()) < 0.05 and abs(start.std() - 1) < 0.05


def test_zero_steps_change_nothing() -> None:
    x = torch.randn(1, 1, 4, 4)
    assert torch.equal(denoise(point_denoiser(x * 0), x, make_sampler("ddim", BASE), 20, 0), x)


def test_noising_and_its_readings_agree() -> None:
    clean, noise = torch.randn(1, 1, 4, 4).double(), torch.randn(1, 1, 4, 4).double()
    noisy = add_noise(clean, noise, 0.3)
    assert torch.allclose(clean_of(noisy, noise, 0.3), clean)
    assert torch.allclose(noise_of(noisy, clean, 0.3), noise)


@pytest.mark.parametrize("name", ["ddim", "euler"])
def test_steering_decides_and_watching_sees_it(name: str) -> None:
    x, target = torch.randn(1, 1, 4, 4).double(), torch.full((1, 1, 4, 4), 0.25).double()
    seen: list[Moment] = []
    found = denoise(
        lambda latents, t: torch.zeros_like(latents),
        x,
        make_sampler(name, BASE),
        20,
        steer=lambda moment: towards(moment, target),
        watch=seen.append,
    )
    assert torch.allclose(found, target, rtol=1e-3)
    assert [moment.index for moment in seen] == list(range(20))
    assert torch.allclose(seen[-1].clean, target, atol=1e-6)


def test_eta_draws_from_the_generator() -> None:
    x = torch.randn(1, 1, 4, 4).double()
    runs = [
        denoise(
            gaussian_denoiser(0, 1),
            x,
            make_sampler("ddim", BASE),
            5,
            eta=1.0,
            generator=torch.Generator().manual_seed(s),
        )
        for s in (0, 0, 1)
    ]
    assert torch.equal(runs[0], runs[1]) and not torch.equal(runs[0], runs[2])


def test_classifier_free_guidance_extrapolates() -> None:
    backbone = SimpleNamespace(predict=lambda x, t, c: c.states[:, :1, :1, None].expand_as(x))
    with_it, without = (Condition(torch.full((1, 1, 1), value)) for value in (3.0, 1.0))
    x = torch.zeros(2, 1, 4, 4)
    assert torch.equal(classifier_free(backbone, with_it, without, 2.5)(x, 1), torch.full_like(x, 6.0))
    assert torch.equal(classifier_free(backbone, with_it, without, 1)(x, 1), torch.full_like(x, 3.0))


@pytest.mark.parametrize(
    "guide", [classifier_free, lambda b, c, u, s: composed(b, [c, c], torch.ones(2, 1, 1, 1), u, s)]
)
def test_guidance_between_equal_conditions_costs_one_prediction(guide: Callable[..., Predict]) -> None:
    asked: list[int] = []

    class Counting:
        def predict(self, latents: Tensor, timestep: int, condition: Condition) -> Tensor:
            asked.append(len(latents))
            return latents

    same, other = (Condition(torch.full((1, 2, 3), value), {"size": torch.ones(1, 2)}) for value in (0.0, 1.0))
    longer, x = Condition(torch.zeros(1, 3, 3), same.extra), torch.ones(1, 4, 4, 4)
    guide(Counting(), same, same, 3.0)(x, 1)
    assert asked == [1] and not same.says(other) and not same.says(longer)
    assert not same.says(Condition(same.states))


def test_an_unknown_sampler_is_named() -> None:
    with pytest.raises(SettingError, match=r"ddim.*euler"):
        make_sampler("magic", BASE)
