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
from velatura.cache import Cache
from velatura.diffusion.samplers import Run, learned_variance_sampler
from velatura.errors import ModelError, SettingError
from velatura.losses import Objective
from velatura.methods.base import Method, Stylization
from velatura.methods.context import RunContext
from velatura.methods.diffstyler import DiffStyler
from velatura.methods.guided import Guided
from velatura.methods.s2prest import S2PreST
from velatura.models.adm.architecture import AdmShape
from velatura.models.adm.backbone import PixelBackbone
from velatura.models.adm.checkpoint import adm_of_state
from velatura.models.backbone import Prediction
from velatura.models.features.vgg import UNSHIFTED, VGGTrunk
from velatura.models.loading.load import load_backbone
from velatura.picture import Picture, image_to_pixels
from velatura.regions import Region
from velatura.reproductions.zecon import ZeConOriginal
from velatura.reproductions.zecon.ancestral import AncestralSchedule
from velatura.reproductions.zecon.sampling import Guidance, invert
from velatura.style import Style

SHAPE = AdmShape(16, 32, (1, 1), 1, (1,), head_channels=32)
CONTENT, STYLE = Picture.of(smooth_image(48, 64), "content"), Picture.of(smooth_image(64, 64, 1), "style")
STYLE_EMBEDDINGS = Cache()  # all that ZeCon keeps between runs
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
    return QUICK.fit(STYLE, "style", RunContext(adm()))


def stylized(method: Method, seed: int = 0, cache: Cache | None = None) -> Stylization:
    return method.stylize([CONTENT], [Region(fitted())], RunContext(adm(), seed, cache or Cache()))[0]


def result(method: Method, seed: int = 0, cache: Cache | None = None) -> np.ndarray:
    return np.asarray(stylized(method, seed, cache).picture).astype(int)


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
    scores = stylized(method).scores
    assert set(scores) - {"unet_evaluations"} == {"zecon", "gram", "tv"} and all(np.isfinite(list(scores.values())))


@pytest.mark.parametrize(("start", "sampler"), [("noise", "ddpm"), ("inversion", "ddpm"), ("noise", "ddim")])
def test_zecon_as_published_runs_and_depends_on_its_seed(start: str, sampler: str) -> None:
    weights = {"mse_rgb": 10.0, "vgg_shallow": 1.0, "zecon": 1.0, "range": 1.0, "clip_patch": 1.0}
    method = ZeConOriginal(steps=6, start=start, sampler=sampler, views=2, weights=weights)
    made = stylized(method, 1, STYLE_EMBEDDINGS)
    assert made.picture.size == (64, 48) and set(made.scores) - {"unet_evaluations"} == set(weights)
    assert made.manifest["working_size"] == [64, 64] and made.manifest["image_encoder"]
    again, other = (result(method, seed, STYLE_EMBEDDINGS) for seed in (1, 2))
    assert np.array_equal(np.asarray(made.picture), again) and not np.array_equal(again, other)


def test_zecon_as_published_is_for_adms() -> None:
    from tests.tiny_house import tiny_house

    context = RunContext(tiny_house())
    style = QUICK.fit(STYLE, "style", context)
    with pytest.raises(ModelError, match="zecon-original needs an ADM"):
        ZeConOriginal(weights={"mse_rgb": 1.0}).stylize([CONTENT], [Region(style)], context)


def test_zecon_as_published_has_the_published_settings_only() -> None:
    assert ZeConOriginal().weights["zecon"] == 500
    with pytest.raises(SettingError, match=r"ZeCon has no loss gram: use clip, .*range"):
        ZeConOriginal(weights={"gram": 1.0, "tv": 0.0})
    with pytest.raises(SettingError, match=r"sampler must be ddpm or ddim, not 'euler'"):
        ZeConOriginal(sampler="euler")
    with pytest.raises(SettingError, match=r"eta is a setting of the ddim sampler, not of ddpm"):
        ZeConOriginal(eta=0.5)


def test_a_style_of_guided_and_one_of_zecon_are_the_same() -> None:
    ours, theirs = (method.fit(STYLE, "style", RunContext(adm())) for method in (ZeConOriginal(), Guided()))
    assert ours.method == theirs.method and ours.identity == theirs.identity and ours.card == theirs.card
    assert all(torch.equal(ours.tensors[name], tensor) for name, tensor in theirs.tensors.items())
    still = stylized(ZeConOriginal(strength=0.0, weights={"mse_rgb": 1.0}))
    assert still.scores == {"unet_evaluations": 0.0}


def test_the_inverted_latent_is_noise_enough_to_lead_back() -> None:
    schedule, pixels = AncestralSchedule.of("50"), image_to_pixels(CONTENT.image, (32, 32))
    with torch.no_grad():
        unguided = Objective((), VGGTrunk("none", UNSHIFTED))
        guidance = Guidance(adm(), schedule, unguided, pixels, torch.Generator())
        x = invert(guidance, 25)
        for index in range(25, 0, -1):
            noise = guidance.predict(x, index - 1).noise
            x0 = schedule.predict_x0(x, noise, index)
            x, _ = schedule.ddim_step(x, x0, torch.zeros(()), index)
    assert (x - pixels).square().mean().sqrt() < 0.2


def test_a_signal_of_the_published_start() -> None:
    """guided-details 1.3: with T' = 50 and half skipped the inverted latent leaves 0.548 of the signal, not 0.295."""
    schedule = AncestralSchedule.of("50")
    level, beyond = schedule.abars[24], schedule.abars[25]
    assert level**0.5 == pytest.approx(0.295, abs=5e-4)
    assert level**0.5 + (1 - level) ** 0.5 * beyond**0.5 == pytest.approx(0.548, abs=5e-3)


def test_other_methods_say_that_they_need_a_prompt() -> None:
    with pytest.raises(ModelError, match=r"no text encoder, which --method s2prest needs.*guided"):
        S2PreST().fit(STYLE, "style", RunContext(adm()))
    with pytest.raises(ModelError, match="no text encoder, which --method diffstyler needs"):
        DiffStyler().fit(STYLE, "style", RunContext(adm()))


def run(*arguments: str) -> tuple[int, str]:
    outcome = CliRunner().invoke(app, list(arguments))
    return outcome.exit_code, outcome.output


def test_an_original_file_becomes_a_model_for_the_command_line(tmp_path: Path) -> None:
    torch.save(original(SHAPE), tmp_path / "adm.pt")
    code, said = run("models", "convert", str(tmp_path / "adm.pt"), "--head-channels", "32")
    assert code == 0 and (tmp_path / "adm" / "unet.safetensors").is_file(), said
    loaded = load_backbone(str(tmp_path / "adm"), "cpu", "fp32")
    assert isinstance(loaded, PixelBackbone) and loaded.shape == SHAPE
    with pytest.raises(ModelError, match=r"needs: .*--method guided"):
        DiffStyler().fit(STYLE, "style", RunContext(loaded))
    studio = Studio(str(tmp_path / "adm"), "cpu", "fp32", tmp_path / "styles")
    made = studio.stylize(CONTENT, fitted_on(studio), 0, "guided", steps=3, size=64)
    assert made.picture.size == (64, 48)
    assert "house" in run("models")[1]
    again = run("models", "convert", str(tmp_path / "adm.pt"), "--head-channels", "32")[1]
    assert "adm exists: the result goes to" in again and (tmp_path / "adm-1").is_dir()


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
    generator = torch.Generator()
    sampler = learned_variance_sampler(adm().schedule, Run(20, 20, generator=generator))
    visited = sampler.timesteps[::-1]
    kept = adm().schedule.alphas_cumprod[list(visited)].numpy()
    schedule = AncestralSchedule(visited, 1 - kept / np.append(1.0, kept[:-1]))
    x, noise, logits = torch.randn(3, 1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    logits = logits.clamp(-1, 1)
    for index in (1, 7, 19):
        generator.manual_seed(1)
        step = sampler.step(Prediction(noise, logits), 19 - index, x)
        fresh = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
        prediction = schedule.predict_step(x, Prediction(noise, logits), index)
        assert torch.allclose(step, schedule.ancestral_step(prediction, fresh, index), atol=1e-4)
    ancestral = dataclasses.replace(QUICK, sampler="ddpm")
    assert np.array_equal(result(ancestral), result(ancestral)) and not np.array_equal(result(ancestral), result(QUICK))
