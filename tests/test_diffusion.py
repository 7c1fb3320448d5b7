"""Inversion, sampling and guidance against closed forms: denoisers whose answers are known exactly."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from diffusers import DDIMScheduler
from torch import Tensor

from velatura.cache import Cache
from velatura.diffusion.cached_inversion import InversionSettings, cached_inversion
from velatura.diffusion.denoising import DenoisingStep, denoise
from velatura.diffusion.guidance import classifier_free, composed
from velatura.diffusion.inversion import Predict, ddim_denoise, invert
from velatura.diffusion.samplers import SAMPLERS, Run, learned_variance_sampler, make_sampler
from velatura.errors import ModelError, SettingError
from velatura.models.backbone import Conditioning, Prediction
from velatura.models.noise_schedule import (
    NoiseSchedule,
    add_noise,
    add_noise_each,
    ddim_step,
    predict_noise,
    predict_x0,
    steps_of_strength,
)
from velatura.progress import Silent
from velatura.span import WHOLE_RUN, Span, progress_of

SCHEDULE = NoiseSchedule.of_scheduler(
    DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", set_alpha_to_one=False, steps_offset=1
    )
)
ABARS = SCHEDULE.alphas_cumprod


def point_denoiser(point: Tensor) -> Predict:
    """The exact noise prediction when every picture is ``point``."""
    return lambda x, t: Prediction(predict_noise(x, point, float(ABARS[t])))


def gaussian_denoiser(mean: float, variance: float) -> Predict:
    """The exact noise prediction E[eps | x] for data N(mean, variance), independently in every element."""

    def predict(x: Tensor, t: int) -> Prediction:
        abar = float(ABARS[t])
        return Prediction((1 - abar) ** 0.5 * (x - abar**0.5 * mean) / (abar * variance + 1 - abar))

    return predict


def test_levels_are_stable_diffusions() -> None:
    levels = SCHEDULE.ddim_levels(50)
    assert levels.timesteps[:3] == (1, 21, 41) and levels.timesteps[-1] == 981
    assert levels.abars[0] == float(ABARS[0]) and levels.abars[1] == float(ABARS[1])
    with pytest.raises(SettingError, match="from 1 to 1000"):
        SCHEDULE.ddim_levels(0)
    assert levels.up_to(2).timesteps == (1, 21) and levels.up_to(2).abars == levels.abars[:3]
    assert levels.beyond(48).timesteps == (961, 981) and levels.beyond(48).abars == levels.abars[48:]


def test_strength_is_rounded_not_truncated() -> None:
    assert int(0.58 * 50) == 28
    assert steps_of_strength(50, 0.58) == 29
    with pytest.raises(SettingError):
        steps_of_strength(50, 1.01)


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_finds_the_only_picture(name: str) -> None:
    point = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0)).double()
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1)).double()
    found = denoise(point_denoiser(point), noise, make_sampler(name, SCHEDULE, Run(20, 20)))
    # The schedule ends at a little noise (abar[0] = 0.99915), of which this much can be left.
    assert (found - point).abs().max() < 0.15


def test_point_mass_is_sampled_to_the_last_digit() -> None:
    point = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0)).double()
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1)).double()
    levels = SCHEDULE.ddim_levels(10, final_abar=1.0)
    start = add_noise(point, noise, levels.abars[-1])
    assert torch.allclose(ddim_denoise(point_denoiser(point), start, levels), point, atol=1e-10)


def test_gaussian_sampling_is_the_product_of_its_linear_steps() -> None:
    mean, variance = 0.7, 0.3
    levels = SCHEDULE.ddim_levels(25)
    x = torch.linspace(-3, 3, 7).double().reshape(1, 1, 1, 7)
    factor, offset = 1.0, 0.0
    for above, below in zip(reversed(levels.abars[1:]), reversed(levels.abars[:-1]), strict=True):
        # eps = k (x - sqrt(abar) mean); x' = sqrt(below) (x - s eps) / a + sqrt(1 - below) eps
        k = (1 - above) ** 0.5 / (above * variance + 1 - above)
        gain = (below / above) ** 0.5 + k * ((1 - below) ** 0.5 - (below * (1 - above) / above) ** 0.5)
        shift = ((below / above) ** 0.5 - gain) * above**0.5 * mean
        factor, offset = gain * factor, gain * offset + shift
    sampled = ddim_denoise(gaussian_denoiser(mean, variance), x, levels)
    assert torch.allclose(sampled, factor * x + offset, atol=1e-12)


def test_the_loop_with_ddim_equals_the_plain_steps() -> None:
    x = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(2)).double()
    predict = gaussian_denoiser(0.2, 0.5)
    looped = denoise(predict, x, make_sampler("ddim", SCHEDULE, Run(20, 20)))
    plain = ddim_denoise(predict, x, SCHEDULE.ddim_levels(20))
    assert torch.allclose(looped, plain, atol=1e-6)  # the scheduler keeps its abars in float32


def test_corrected_inversion_is_exact_and_naive_is_not() -> None:
    x = torch.randn(1, 1, 4, 4, generator=torch.Generator().manual_seed(3)).double()
    predict, levels = gaussian_denoiser(0.1, 0.4), SCHEDULE.ddim_levels(20)
    naive = ddim_denoise(predict, invert(predict, x, levels).noisiest, levels)
    exact = ddim_denoise(predict, invert(predict, x, levels, corrections=60).noisiest, levels)
    assert (exact - x).abs().max() < 1e-10
    assert (naive - x).abs().max() > 1e-3
    assert len(invert(predict, x, levels).latents) == 21


def test_dense_gaussian_inversion_gives_white_noise() -> None:
    generator = torch.Generator().manual_seed(4)
    x = 0.5 + 0.3 * torch.randn(1, 1, 100, 100, generator=generator).double()
    start = invert(gaussian_denoiser(0.5, 0.09), x, SCHEDULE.ddim_levels(1000)).noisiest
    assert abs(start.mean()) < 0.05 and abs(start.std() - 1) < 0.05


def test_zero_steps_change_nothing() -> None:
    x = torch.randn(1, 1, 4, 4)
    assert torch.equal(denoise(point_denoiser(x * 0), x, make_sampler("ddim", SCHEDULE, Run(20, 0))), x)


def test_noising_and_its_readings_agree() -> None:
    x0, noise = torch.randn(1, 1, 4, 4).double(), torch.randn(1, 1, 4, 4).double()
    noisy = add_noise(x0, noise, 0.3)
    assert torch.allclose(predict_x0(noisy, noise, 0.3), x0)
    assert torch.allclose(predict_noise(noisy, x0, 0.3), noise)


@pytest.mark.parametrize("name", ["ddim", "euler"])
def test_steering_decides_and_what_comes_after_a_step_is_kept(name: str) -> None:
    x, target = torch.randn(1, 1, 4, 4).double(), torch.full((1, 1, 4, 4), 0.25).double()
    steps: list[DenoisingStep] = []

    def steer(step: DenoisingStep) -> DenoisingStep:
        steps.append(step.with_x0(target))
        return steps[-1]

    sampler = make_sampler(name, SCHEDULE, Run(20, 20))
    found = denoise(lambda latents, t: Prediction(torch.zeros_like(latents)), x, sampler, steer=steer)
    assert torch.allclose(found, target, rtol=1e-3)
    assert [step.index for step in steps] == list(range(20))
    assert torch.allclose(steps[-1].x0, target, atol=1e-6)
    marked = denoise(
        point_denoiser(target),
        x,
        make_sampler(name, SCHEDULE, Run(20, 20)),
        after_step=lambda i, x: x * 0 + i,
    )
    assert torch.equal(marked, torch.full_like(x, 19.0))


def test_progress_is_the_share_of_the_runs_steps_that_is_done() -> None:
    steps: list[DenoisingStep] = []

    def steer(step: DenoisingStep) -> DenoisingStep:
        steps.append(step)
        return step

    x = torch.randn(1, 1, 4, 4).double()
    denoise(point_denoiser(x), x, make_sampler("ddim", SCHEDULE, Run(50, 8)), steer=steer)
    assert [step.progress for step in steps] == [index / 8 for index in range(8)]
    assert [step.timestep for step in steps] == list(SCHEDULE.ddim_levels(50).up_to(8).timesteps[::-1])
    assert [step.abar for step in steps] == [float(ABARS[step.timestep]) for step in steps]


def test_another_noise_changes_the_step_and_not_its_latents() -> None:
    x, noise = torch.randn(1, 1, 4, 4), torch.randn(1, 1, 4, 4)
    step = DenoisingStep(0, 500, 0.3, 0.0, x, Prediction(noise, noise * 2))
    changed = step.with_noise(noise + 1)
    assert torch.equal(changed.latents, x) and torch.equal(changed.noise, noise + 1)
    assert torch.equal(changed.prediction.variance, noise * 2)
    assert torch.allclose(step.with_x0(step.x0).latents, x, atol=1e-6)


def test_a_span_is_half_open_and_inside_the_run() -> None:
    span = Span(0.25, 0.75)
    assert [index for index in range(8) if span.contains(progress_of(index, 8))] == [2, 3, 4, 5]
    halves = (Span(0.0, 0.5), Span(0.5, 1.0))
    assert all(sum(half.contains(progress_of(index, 7)) for half in halves) == 1 for index in range(7))
    assert all(WHOLE_RUN.contains(progress_of(index, 9)) for index in range(9))
    assert not WHOLE_RUN.contains(1.0)
    for wrong in (Span(0.5, 0.5), Span(0.8, 0.2), Span(-0.1, 0.5), Span(0.5, 1.1)):
        with pytest.raises(SettingError, match="span of the loss 'gram' must lie in 0-1 and rise"):
            wrong.check("the loss 'gram'")
    WHOLE_RUN.check("the loss 'gram'")


def test_a_ddim_step_goes_both_ways() -> None:
    x0, noise = torch.randn(2, 1, 4, 4).double(), torch.randn(2, 1, 4, 4).double()
    noisy = add_noise(x0, noise, 0.8)
    noisier = ddim_step(noisy, noise, 0.8, 0.3)
    assert torch.allclose(noisier, add_noise(x0, noise, 0.3))
    assert torch.allclose(ddim_step(noisier, noise, 0.3, 0.8), noisy)
    assert torch.allclose(ddim_step(noisy, noise, 0.8, 1.0), x0)
    each = add_noise_each(x0, noise, [0.8, 0.3])
    assert torch.equal(each[:1], add_noise(x0[:1], noise[:1], 0.8))
    assert torch.equal(each[1:], add_noise(x0[1:], noise[1:], 0.3))


def test_what_a_network_predicts_is_read_as_noise() -> None:
    x0, noise = torch.randn(2, 1, 4, 4).double(), torch.randn(2, 1, 4, 4).double()
    timesteps = torch.tensor([100, 700])
    abars = ABARS[timesteps]
    noisy, a = add_noise_each(x0, noise, abars.tolist()), abars[:, None, None, None]
    outputs = {"epsilon": noise, "v_prediction": a.sqrt() * noise - (1 - a).sqrt() * x0, "sample": x0}
    outputs["flow"] = noise - x0
    for kind, output in outputs.items():
        schedule = NoiseSchedule(ABARS, kind)
        assert torch.allclose(schedule.output_to_noise(output, noisy, timesteps), noise, atol=1e-5), kind
    with pytest.raises(ModelError, match="predicts 'odd' is not supported"):
        NoiseSchedule(ABARS, "odd").output_to_noise(noise, noisy, timesteps)


def test_a_learned_variance_is_needed_where_it_is_sampled_with() -> None:
    x, generator = torch.randn(1, 3, 4, 4).double(), torch.Generator().manual_seed(0)
    sampler = learned_variance_sampler(SCHEDULE, Run(5, 5, generator=generator))
    with pytest.raises(SettingError, match="learned no variance"):
        denoise(point_denoiser(x), x, sampler)
    quiet, loud = (
        denoise(
            lambda latents, t, v=v: Prediction(torch.zeros_like(latents), torch.full_like(latents, v)),
            x,
            learned_variance_sampler(SCHEDULE, Run(5, 5, generator=torch.Generator().manual_seed(0))),
        )
        for v in (-1.0, 1.0)
    )
    assert quiet.isfinite().all() and not torch.equal(quiet, loud)


def test_a_kept_inversion_goes_on_where_it_ended() -> None:
    asked: list[tuple[int, int]] = []

    def predict(latents: Tensor, timestep: int, _conditioning: Conditioning) -> Prediction:
        asked.append((timestep, len(latents)))
        return gaussian_denoiser(0.1, 0.4)(latents, timestep)

    backbone = SimpleNamespace(predict=predict, schedule=SCHEDULE, fingerprint="tiny")
    latents, conditioning = torch.randn(2, 1, 4, 4), Conditioning(torch.zeros(1, 2, 3))
    cache = Cache()

    def inverted(run: int, corrections: int = 0, one: Tensor = latents) -> Tensor:
        settings = InversionSettings(20, run, corrections)
        return cached_inversion(backbone, one, conditioning, settings, cache, Silent())

    first, again = inverted(5), inverted(5)
    assert torch.equal(first, again) and [t for t, _ in asked] == [1, 51, 101, 151, 201]
    longer = inverted(8)
    assert [t for t, _ in asked[5:]] == [251, 301, 351]
    fresh = invert(lambda x, t: predict(x, t, conditioning), latents, SCHEDULE.ddim_levels(20).up_to(8))
    assert torch.equal(longer, fresh.noisiest)
    assert torch.equal(inverted(5), first)
    asked.clear()
    assert torch.equal(inverted(8, one=latents[1:]), longer[1:]) and not asked
    inverted(3, corrections=1)
    asked.clear()
    corrected = inverted(4, corrections=1)
    assert asked[0][0] == 1
    exact = invert(lambda x, t: predict(x, t, conditioning), latents, SCHEDULE.ddim_levels(20).up_to(4), 1)
    assert torch.equal(corrected, exact.noisiest)


def test_eta_draws_from_the_generator() -> None:
    x = torch.randn(1, 1, 4, 4).double()
    runs = [
        denoise(
            gaussian_denoiser(0, 1),
            x,
            make_sampler("ddim", SCHEDULE, Run(5, 5, eta=1.0, generator=torch.Generator().manual_seed(s))),
        )
        for s in (0, 0, 1)
    ]
    assert torch.equal(runs[0], runs[1]) and not torch.equal(runs[0], runs[2])


def test_classifier_free_guidance_extrapolates() -> None:
    backbone = SimpleNamespace(predict=lambda x, t, c: Prediction(c.states[:, :1, :1, None].expand_as(x)))
    conditioning, unconditional = (Conditioning(torch.full((1, 1, 1), value)) for value in (3.0, 1.0))
    x = torch.zeros(2, 1, 4, 4)
    assert torch.equal(classifier_free(backbone, conditioning, unconditional, 2.5)(x, 1).noise, torch.full_like(x, 6.0))
    assert torch.equal(classifier_free(backbone, conditioning, unconditional, 1)(x, 1).noise, torch.full_like(x, 3.0))


@pytest.mark.parametrize(
    "guide", [classifier_free, lambda b, c, u, s: composed(b, [c, c], torch.ones(2, 1, 1, 1), u, s)]
)
def test_guidance_between_equal_conditions_costs_one_prediction(guide: Callable[..., Predict]) -> None:
    asked: list[int] = []

    class Counting:
        def predict(self, latents: Tensor, timestep: int, conditioning: Conditioning) -> Prediction:
            asked.append(len(latents))
            return Prediction(latents)

    same, other = (Conditioning(torch.full((1, 2, 3), value), {"size": torch.ones(1, 2)}) for value in (0.0, 1.0))
    longer, x = Conditioning(torch.zeros(1, 3, 3), same.extra), torch.ones(1, 4, 4, 4)
    guide(Counting(), same, same, 3.0)(x, 1)
    assert asked == [1] and not same.equals(other) and not same.equals(longer)
    assert not same.equals(Conditioning(same.states))


def test_an_unknown_sampler_is_named() -> None:
    with pytest.raises(SettingError, match=r"ddim.*euler"):
        make_sampler("magic", SCHEDULE, Run(5, 5))
