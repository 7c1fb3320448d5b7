"""Ancestral and DDIM steps with a learned variance, against the recorded ones, and in closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.test_parity_adm import GUIDED, backbone, needs_recordings, recorded
from velatura.errors import SettingError
from velatura.models.backbone import Prediction
from velatura.reproductions.zecon.ancestral import AncestralPrediction, AncestralSchedule, respaced

INDEX = 24


def step(name: str) -> Tensor:
    return recorded()[f"diff/adm_a/i24/{name}"]


def predicted(clipped: bool) -> tuple[AncestralSchedule, Tensor, AncestralPrediction]:
    schedule, model = AncestralSchedule.of("50"), backbone("adm_a")
    x = step("x")
    with torch.no_grad():
        prediction = model.predict(x, schedule.timesteps[INDEX], model.unconditional())
    found = schedule.predict_step(x, prediction, INDEX)
    if clipped:
        x0 = found.x0.clamp(-1, 1)
        found = AncestralPrediction(schedule.posterior_mean(x, x0, INDEX), found.log_variance, x0)
    return schedule, x, found


def gradient(x: Tensor) -> Tensor:
    return 2 * (recorded()["diff/target"] - x)


def close(ours: Tensor, wanted: Tensor) -> bool:
    return torch.allclose(ours, wanted, atol=2e-5 * float(wanted.abs().max()))


@needs_recordings
@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize("spacing", ["10,15,20", "100", "25", "250", "50", "ddim25", "ddim50", "none"])
def test_respaced_tables(schedule: str, spacing: str) -> None:
    tables = load_file(GUIDED / "adm_tables.safetensors")
    ours = AncestralSchedule.of("1000" if spacing == "none" else spacing, schedule)
    prefix = f"table/{schedule}/{spacing}/"
    assert list(ours.timesteps) == tables[f"{prefix}timestep_map"].tolist()
    known = {
        "betas": ours.betas,
        "alphas_cumprod": ours.abars,
        "posterior_variance": ours.posterior_variance,
        "posterior_log_variance_clipped": ours.posterior_log_variance,
        "posterior_mean_coef1": ours.posterior_coefficients[0],
        "posterior_mean_coef2": ours.posterior_coefficients[1],
    }
    for name, values in known.items():
        if f"{prefix}{name}" in tables:
            assert np.allclose(values, tables[f"{prefix}{name}"].numpy(), rtol=1e-9, atol=0), name


@needs_recordings
def test_mean_variance_and_x0() -> None:
    for clipped in (False, True):
        _, _, found = predicted(clipped)
        assert close(found.mean, step(f"pmv_clip{int(clipped)}/mean"))
        assert close(found.x0, step(f"pmv_clip{int(clipped)}/pred_xstart"))
        assert close(found.log_variance, step("pmv_clip0/log_variance"))
        assert close(found.log_variance.exp(), step("pmv_clip0/variance"))


@needs_recordings
def test_ancestral_steps() -> None:
    for clipped in (False, True):
        schedule, x, found = predicted(clipped)
        name = f"p_sample_clip{int(clipped)}"
        assert close(schedule.ancestral_step(found, step("noise"), INDEX), step(f"{name}/sample"))
        guided = schedule.ancestral_step(found, step("noise"), INDEX, gradient(x))
        assert close(guided, step(f"{name}_cond/sample"))


@needs_recordings
def test_ddim_steps() -> None:
    schedule, x, found = predicted(False)
    for eta in (0.0, 0.5, 1.0):
        plain, _ = schedule.ddim_step(x, found.x0, step("noise"), INDEX, eta)
        assert close(plain, step(f"ddim_eta{eta}/sample"))
        guided, _ = schedule.ddim_step(x, found.x0, step("noise"), INDEX, eta, gradient(x))
        assert close(guided, step(f"ddim_eta{eta}_cond/sample"))
    _, x0 = schedule.ddim_step(x, found.x0, step("noise"), INDEX, 0.0, gradient(x))
    assert close(x0, step("ddim_eta0.0_cond/pred_xstart"))
    assert close(schedule.ddim_reverse(x, found.x0, INDEX), step("ddim_reverse/sample"))
    assert close(schedule.add_noise(x.clamp(-1, 1), step("noise"), INDEX), step("q_sample"))
    schedule, x, found = predicted(True)
    guided, _ = schedule.ddim_step(x, found.x0, step("noise"), INDEX, 0.0, gradient(x))
    assert close(guided, step("ddim_clip1_eta0.0_cond/sample"))


def test_a_gaussian_is_sampled_with_its_own_moments() -> None:
    """Data N(m, s^2): the exact noise and the posterior variance give samples of that mean and spread."""
    schedule, generator = AncestralSchedule.of("250"), torch.Generator().manual_seed(0)
    mean, spread = 0.3, 0.5
    x = torch.randn(20_000, 1, 1, 1, generator=generator)
    for index in reversed(range(len(schedule))):
        abar = schedule.abars[index]
        noise = (1 - abar) ** 0.5 * (x - abar**0.5 * mean) / (abar * spread**2 + 1 - abar)
        found = schedule.predict_step(x, Prediction(noise, -torch.ones_like(x)), index)
        x = schedule.ancestral_step(found, torch.randn(x.shape, generator=generator), index)
    assert abs(x.mean().item() - mean) < 0.02 and abs(x.std().item() - spread) < 0.02


def test_ddim_up_and_down_again_is_the_same_where_the_noise_is_constant() -> None:
    schedule, noise = AncestralSchedule.of("50"), torch.full((1, 1, 2, 2), 0.7)
    start = x = torch.tensor([[[[0.1, -0.4], [0.9, 0.0]]]])
    x = schedule.add_noise(start, noise, 0)
    for index in range(24):
        x = schedule.ddim_reverse(x, schedule.predict_x0(x, noise, index), index)
    for index in range(24, 0, -1):
        x, _ = schedule.ddim_step(x, schedule.predict_x0(x, noise, index), torch.zeros(()), index)
    assert torch.allclose(schedule.predict_x0(x, noise, 0), start, atol=1e-5)


@pytest.mark.parametrize("spacing", ["ddim777", "0", "2000", "ten", "400,400,400"])
def test_spacings_that_cannot_be(spacing: str) -> None:
    with pytest.raises(SettingError):
        respaced(spacing)
