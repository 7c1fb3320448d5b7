"""An ADM from its original file to a stylised picture, on a network small enough for a test."""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from tests.conftest import smooth_image
from tests.test_parity_adm import original
from velatura.app.cli import app
from velatura.app.studio import Studio
from velatura.diffusion.ancestral import AncestralSchedule
from velatura.diffusion.schedules import make_sampler, with_learned_variance
from velatura.errors import ModelError, SettingError
from velatura.losses import published
from velatura.memory import Memory
from velatura.methods import DiffStyler, Guided, S2PreST
from velatura.methods.guided.published import inverted
from velatura.models.adm import AdmShape
from velatura.models.adm_checkpoint import adm_of_state
from velatura.models.loading import load_backbone, load_latent_backbone
from velatura.models.pixel import PixelBackbone
from velatura.picture import Picture, image_to_pixels
from velatura.progress import Silent
from velatura.regions import Region
from velatura.style import Style

SHAPE = AdmShape(16, 32, (1, 1), 1, (1,), head_channels=32)
CONTENT, STYLE = Picture.of(smooth_image(48, 64), "content"), Picture.of(smooth_image(64, 64, 1), "style")
QUICK = Guided(steps=6, strength=0.5, size=64)


@lru_cache(maxsize=1)
def adm() -> PixelBackbone:
    torch.manual_seed(0)
    weights = {key: 0.05 * value for key, value in original(SHAPE).items()}
    unet = adm_of_state(weights, dataclasses.replace(SHAPE, image_size=64))
    return PixelBackbone(
        unet, dataclasses.replace(SHAPE, image_size=64), "tiny-adm", torch.device("cpu"), torch.float32
    )


@lru_cache(maxsize=1)
def fitted() -> Style:
    return QUICK.fit(STYLE, adm(), "style", Silent())


def result(method: Guided, seed: int = 0) -> np.ndarray:
    made = method.stylize([CONTENT], [Region(fitted())], adm(), seed, Silent(), Memory())[0]
    return np.asarray(made.picture).astype(int)


@pytest.mark.parametrize("gradient", ["x0", "unet"])
def test_guided_works_on_pixels_and_keeps_the_size(gradient: str) -> None:
    method = dataclasses.replace(QUICK, gradient=gradient)
    assert result(method).shape == (48, 64, 3)
    assert np.array_equal(result(method), result(method))


def test_strength_zero_is_the_content_at_the_working_size() -> None:
    still = dataclasses.replace(QUICK, strength=0.0)
    expected = np.asarray(CONTENT.image.resize((86, 64)).resize((64, 48))).astype(int)
    assert np.abs(result(still) - expected).mean() < 6


def test_zecon_and_gram_act_on_an_adm() -> None:
    method = dataclasses.replace(QUICK, weights={"zecon": 1.0, "gram": 1.0, "tv": 0.1})
    made = method.stylize([CONTENT], [Region(fitted())], adm(), 0, Silent(), Memory())[0]
    assert set(made.scores) == {"zecon", "gram", "tv"} and all(np.isfinite(list(made.scores.values())))


@pytest.mark.parametrize(("start", "sampler"), [("noise", "ddpm"), ("inversion", "ddpm"), ("noise", "ddim")])
def test_the_published_loop_runs_and_depends_on_its_seed(
    start: str, sampler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(published, "VIEWS", 2)
    weights = {"mse_rgb": 10.0, "vgg_shallow": 1.0, "zecon": 1.0, "range": 1.0, "clip_patch": 1.0}
    method = dataclasses.replace(QUICK, compat="original", start=start, sampler=sampler, weights=weights)
    made = method.stylize([CONTENT], [Region(fitted())], adm(), 1, Silent(), Memory())[0]
    assert made.picture.size == (64, 48) and set(made.scores) == set(weights)
    assert np.array_equal(np.asarray(made.picture), result(method, 1))
    assert not np.array_equal(result(method, 1), result(method, 2))


def test_the_published_loop_is_for_adms() -> None:
    from tests.tiny_house import tiny_house

    style = QUICK.fit(STYLE, tiny_house(), "style", Silent())
    method = dataclasses.replace(QUICK, compat="original", weights={"mse_rgb": 1.0})
    with pytest.raises(SettingError, match="needs an ADM"):
        method.stylize([CONTENT], [Region(style)], tiny_house(), 0, Silent(), Memory())


def test_the_inverted_latent_is_noise_enough_to_lead_back() -> None:
    schedule, pixels = AncestralSchedule.of("50"), image_to_pixels(CONTENT.image, (32, 32))
    with torch.no_grad():
        latent = inverted(pixels, schedule, 25, adm(), adm().text([""]))
        x = latent
        for index in range(25, 0, -1):
            noise = adm().predict(x, schedule.timesteps[index - 1], adm().text([""]))
            clean = schedule.clean_of(x, noise, index)
            x, _ = schedule.ddim_step(x, clean, torch.zeros(()), index)
    assert (x - pixels).square().mean().sqrt() < 0.2


def test_a_signal_of_the_published_start() -> None:
    """guided-details 1.3: with T' = 50 and half skipped the inverted latent leaves 0.548 of the signal, not 0.295."""
    schedule = AncestralSchedule.of("50")
    level, beyond = schedule.abars[24], schedule.abars[25]
    assert level**0.5 == pytest.approx(0.295, abs=5e-4)
    assert level**0.5 + (1 - level) ** 0.5 * beyond**0.5 == pytest.approx(0.548, abs=5e-3)


def test_other_methods_say_that_they_need_latents() -> None:
    with pytest.raises(ModelError, match=r"works on pixels.*guided"):
        S2PreST().fit(STYLE, adm(), "style", Silent())
    with pytest.raises(ModelError, match="diffstyler needs a latent model"):
        DiffStyler().fit(STYLE, adm(), "style", Silent())


def run(*arguments: str) -> tuple[int, str]:
    outcome = CliRunner().invoke(app, list(arguments))
    return outcome.exit_code, str(outcome.exception or outcome.output)


def test_an_original_file_becomes_a_model_for_the_command_line(tmp_path: Path) -> None:
    torch.save(original(SHAPE), tmp_path / "adm.pt")
    code, said = run("models", "convert", str(tmp_path / "adm.pt"), "--head-channels", "32")
    assert code == 0 and (tmp_path / "adm" / "unet.safetensors").is_file(), said
    loaded = load_backbone(str(tmp_path / "adm"), "cpu", "fp32")
    assert isinstance(loaded, PixelBackbone) and loaded.shape == SHAPE
    with pytest.raises(ModelError, match="only --method guided"):
        load_latent_backbone(str(tmp_path / "adm"), "cpu", "fp32")
    studio = Studio(str(tmp_path / "adm"), "cpu", "fp32", tmp_path / "styles")
    made = studio.stylize(CONTENT, fitted_on(studio), 0, "guided", steps=3, size=64)
    assert made.picture.size == (64, 48)
    assert "house" in run("models")[1]
    assert "exists already" in run("models", "convert", str(tmp_path / "adm.pt"))[1]


def fitted_on(studio: Studio) -> Style:
    return studio.fit(STYLE, method="guided", size=64)


def test_files_that_are_no_adm_leave_nothing_behind(tmp_path: Path) -> None:
    torch.save({"x": torch.zeros(1)}, tmp_path / "other.pt")
    (tmp_path / "broken.pt").write_bytes(b"no checkpoint")
    for name in ("other", "broken", "none"):
        code, _ = run("models", "convert", str(tmp_path / f"{name}.pt"))
        assert code != 0 and not (tmp_path / name).exists()
    (tmp_path / "flags.json").write_text("{}")
    torch.save(original(SHAPE), tmp_path / "adm.pt")
    code, said = run("models", "convert", str(tmp_path / "adm.pt"), "--flags", str(tmp_path / "flags.json"))
    assert code != 0 and "cannot be read" in said and not (tmp_path / "adm").exists()


def test_ddpm_steps_by_the_variance_that_the_network_learned() -> None:
    """Against the arithmetic that is proved on the recordings of the published code."""
    sampler = with_learned_variance(make_sampler("ddpm", adm().scheduler), lambda: logits)
    sampler.set_timesteps(20)
    visited = tuple(int(t) for t in reversed(sampler.timesteps))
    kept = sampler.alphas_cumprod[list(visited)].double().numpy()
    schedule = AncestralSchedule(visited, 1 - kept / np.append(1.0, kept[:-1]))
    x, noise, logits = torch.randn(3, 1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    logits = logits.clamp(-1, 1)
    for index in (1, 7, 19):
        step = sampler.step(noise, visited[index], x, generator=torch.Generator().manual_seed(1))
        fresh = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
        prediction = schedule.predicted(x, noise, logits, index)
        assert torch.allclose(step.prev_sample, schedule.ancestral_step(prediction, fresh, index), atol=1e-4)
    ancestral = dataclasses.replace(QUICK, sampler="ddpm")
    assert np.array_equal(result(ancestral), result(ancestral)) and not np.array_equal(result(ancestral), result(QUICK))
