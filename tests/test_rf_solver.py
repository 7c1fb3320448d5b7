"""RF-Solver: closed forms of its steps, its order, and inversions that lead back on random transformers."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.conftest import smooth_image, smooth_pixels
from tests.tiny_flow import load_tiny_flow
from velatura.cache import Cache
from velatura.diffusion.cached_inversion import InversionSettings, cached_inversion
from velatura.diffusion.denoising import denoise
from velatura.diffusion.guidance import conditional
from velatura.diffusion.inversion import Predict, invert
from velatura.diffusion.rf_solver import RFSolverSampler, level_at, rf_invert
from velatura.diffusion.samplers import Run, make_sampler
from velatura.errors import SettingError
from velatura.evaluation import psnr
from velatura.methods.context import RunContext
from velatura.methods.guided import Guided
from velatura.models.backbone import Conditioning, Prediction
from velatura.models.flow import FlowBackbone, flow_scales, flow_schedule, flow_sigmas
from velatura.models.noise_schedule import add_noise
from velatura.picture import Picture, image_to_pixels, pixels_to_image
from velatura.progress import Silent
from velatura.regions import Region

SIGMAS = flow_sigmas(3.0)
SCHEDULE = flow_schedule(SIGMAS)


def with_velocity(velocity: Callable[[Tensor], Tensor]) -> Predict:
    """The prediction of a model whose velocity is a function of x_sigma."""

    def predict(latents: Tensor, timestep: int) -> Prediction:
        sigma = SIGMAS[timestep]
        mixed = flow_scales(sigma) * latents
        return Prediction(mixed + (1 - sigma) * velocity(mixed))

    return predict


def noises(seed: int = 0) -> Tensor:
    return torch.randn((1, 2, 4, 4), generator=torch.Generator().manual_seed(seed)).double()


def test_a_level_is_one_of_the_flow() -> None:
    for timestep in (0, 40, 999):
        level = level_at(SCHEDULE, timestep)
        assert level.sigma == pytest.approx(float(SIGMAS[timestep]), abs=1e-12)
        assert level.scale == pytest.approx(float(flow_scales(SIGMAS[timestep])), abs=1e-12)
        x0, noise = noises(0), noises(1)
        latents = add_noise(x0, noise, level.abar)
        assert torch.allclose(level.velocity(latents, Prediction(noise)), noise - x0, atol=1e-9)


def test_a_constant_velocity_is_followed_exactly_both_ways() -> None:
    x0, noise = noises(0), noises(1)
    predict, levels = with_velocity(lambda _: noise - x0), SCHEDULE.ddim_levels(7)
    clean = add_noise(x0, noise, levels.abars[0])
    trajectory = rf_invert(predict, clean, levels, SCHEDULE)
    for latents, abar in zip(trajectory.latents, levels.abars, strict=True):
        assert torch.allclose(latents, add_noise(x0, noise, abar), atol=1e-9)
    assert torch.allclose(denoise(predict, trajectory.noisiest, RFSolverSampler(SCHEDULE, levels)), clean, atol=1e-9)


def test_a_linear_velocity_gives_the_taylor_series_of_its_exponential() -> None:
    rate, levels = -0.8, SCHEDULE.ddim_levels(10)
    predict = with_velocity(lambda x: rate * x)
    clean = noises()
    noisiest = rf_invert(predict, clean, levels, SCHEDULE).noisiest
    sigmas = [level_at(SCHEDULE, timestep).sigma for timestep in (0, *levels.timesteps)]
    expected = float(flow_scales(SIGMAS[0]))
    for index, (below, above) in enumerate(pairwise(sigmas)):
        d = rate * (above - below)
        expected *= 1 + d + (d * d / 2 if index else 0)  # the first step, between neighbours, is Euler's
    scale = float(flow_scales(SIGMAS[levels.timesteps[-1]]))
    assert torch.allclose(noisiest, clean * expected / scale, atol=1e-9)


def error(steps: int, upwards: Callable[[Predict, Tensor, int], Tensor]) -> float:
    """How far from the exact exponential an inversion under a linear velocity ends, relatively."""
    rate = -0.8
    clean, last = noises(), SCHEDULE.ddim_levels(steps).timesteps[-1]
    found = upwards(with_velocity(lambda x: rate * x), clean, steps)
    exact = (
        clean * flow_scales(SIGMAS[0]) * math.exp(rate * float(SIGMAS[last] - SIGMAS[0])) / flow_scales(SIGMAS[last])
    )
    return float((found - exact).norm() / exact.norm())


def test_its_error_is_of_second_order_and_ddims_of_first() -> None:
    def second(predict: Predict, clean: Tensor, steps: int) -> Tensor:
        return rf_invert(predict, clean, SCHEDULE.ddim_levels(steps), SCHEDULE).noisiest

    def first(predict: Predict, clean: Tensor, steps: int) -> Tensor:
        return invert(predict, clean, SCHEDULE.ddim_levels(steps), 0).noisiest

    assert error(20, second) < 0.1 * error(20, first)
    assert 3.2 < error(10, second) / error(20, second) < 5 and 1.6 < error(10, first) / error(20, first) < 2.5


def test_the_sampler_has_a_timestep_for_each_prediction() -> None:
    sampler = make_sampler("rf-solver", SCHEDULE, Run(4, 3))
    assert sampler.timesteps == (501, 376, 251, 126, 1)
    assert sampler.abars == tuple(float(SCHEDULE.alphas_cumprod[t]) for t in sampler.timesteps)
    assert make_sampler("rf-solver", SCHEDULE, Run(4, 0)).timesteps == ()
    dense = make_sampler("rf-solver", SCHEDULE, Run(1000, 3))
    x, predict = noises(), with_velocity(torch.tanh)
    euler = denoise(predict, x, make_sampler("ddim", SCHEDULE, Run(1000, 3)))
    assert dense.timesteps == (3, 2, 1) and torch.allclose(denoise(predict, x, dense), euler, atol=1e-5)


def test_a_kept_inversion_goes_on_and_is_not_the_other_solvers() -> None:
    asked: list[int] = []

    def predict(latents: Tensor, timestep: int, _conditioning: Conditioning) -> Prediction:
        asked.append(timestep)
        return with_velocity(torch.tanh)(latents, timestep)

    backbone = SimpleNamespace(predict=predict, schedule=SCHEDULE, fingerprint="tiny")
    conditioning, cache = Conditioning(torch.zeros(1, 2, 3)), Cache()

    def inverted(run: int, solver: str) -> Tensor:
        settings = InversionSettings(10, run, 0, solver)
        return cached_inversion(backbone, noises(), conditioning, settings, cache, Silent())  # type: ignore[arg-type]

    other = inverted(4, "ddim")
    asked.clear()
    inverted(3, "rf-solver")
    assert asked == [0, 1, 51, 101, 151]
    longer = inverted(4, "rf-solver")
    assert asked[5:] == [201, 251] and not torch.allclose(longer, other, atol=1e-4)
    whole = rf_invert(with_velocity(torch.tanh), noises(), SCHEDULE.ddim_levels(10).up_to(4), SCHEDULE)
    assert torch.allclose(longer, whole.noisiest)


@pytest.fixture(scope="module", params=["flux", "sd35"])
def backbone(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> FlowBackbone:
    """A transformer with random weights, whose velocity is made large enough that first-order steps lose the way."""
    loaded = load_tiny_flow(request.param, tmp_path_factory.mktemp(request.param))
    with torch.no_grad():
        loaded.transformer.proj_out.weight.mul_(2)
    return loaded


@torch.no_grad()
def test_the_picture_comes_back_as_well_as_from_the_autoencoder_alone(backbone: FlowBackbone) -> None:
    pixels, steps = smooth_pixels(64, 96), 20
    latents = backbone.encode(pixels)
    decoded = backbone.decode(latents).clamp(-1, 1)
    predict, levels = conditional(backbone, backbone.unconditional()), backbone.schedule.ddim_levels(steps)

    def back(noisiest: Tensor, solver: str) -> Tensor:
        sampler = make_sampler(solver, backbone.schedule, Run(steps, steps))
        return backbone.decode(denoise(predict, noisiest, sampler)).clamp(-1, 1)

    pictures = {
        "rf-solver": back(rf_invert(predict, latents, levels, backbone.schedule).noisiest, "rf-solver"),
        "ddim": back(invert(predict, latents, levels, 0).noisiest, "ddim"),
        "fixed point": back(invert(predict, latents, levels, 8).noisiest, "ddim"),
    }
    found = {name: psnr(picture, decoded) for name, picture in pictures.items()}
    assert found["rf-solver"] > found["ddim"] + 10 and found["fixed point"] > found["ddim"] + 10
    for exact in ("rf-solver", "fixed point"):
        assert found[exact] > 40 and abs(psnr(pictures[exact], pixels) - psnr(decoded, pixels)) < 0.1


def test_guided_inverts_by_it(backbone: FlowBackbone) -> None:
    still = {"guidance_rms": 1e-6, "palette": 0.0, "contrast": 0.0, "sharpness": 0.0, "weights": {"gram": 1.0}}
    content, style = Picture.of(smooth_image(64, 96), "content"), Picture.of(smooth_image(64, 64, 1), "style")
    decoded = pixels_to_image(backbone.decode(backbone.encode(image_to_pixels(content.image))))

    def made(solver: str) -> np.ndarray:
        method = Guided(steps=8, strength=1.0, size=64, inversion=solver, sampler=solver, prompt="", **still)
        made = method.fit(style, "style", RunContext(backbone))
        result = method.stylize([content], [Region(made)], RunContext(backbone))[0]
        return np.asarray(result.picture).astype(float)

    expected = np.asarray(decoded).astype(float)
    assert np.abs(made("rf-solver") - expected).mean() < 0.5 * np.abs(made("ddim") - expected).mean()


def test_corrections_are_of_the_other_solver() -> None:
    with pytest.raises(SettingError, match="corrections are a setting of the ddim inversion, not of rf-solver"):
        Guided(inversion="rf-solver", corrections=2)
    with pytest.raises(SettingError, match="inversion must be ddim or rf-solver, not 'exact'"):
        Guided(inversion="exact")
