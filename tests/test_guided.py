"""Loss-guided diffusion on a tiny model: its invariants, its settings, its bookkeeping."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from tests.conftest import smooth_image
from tests.tiny_house import tiny_house
from velatura.diffusion.sampling import Moment
from velatura.errors import SettingError, StyleError
from velatura.memory import Memory
from velatura.methods.guided import Guided, normalised, usual_sizing
from velatura.models.perceptual import perceptual_trunk
from velatura.picture import Picture, image_to_pixels, pixels_to_image
from velatura.progress import Silent
from velatura.regions import Region
from velatura.style import Style

CONTENT, STYLE = Picture.of(smooth_image(72, 96), "content"), Picture.of(smooth_image(64, 64, 1), "style")
QUICK = Guided(steps=6, strength=0.5, size=64)


def fitted(method: Guided = QUICK) -> Style:
    return method.fit(STYLE, tiny_house(), "style", Silent())


def result(method: Guided, seed: int = 0, style: Style | None = None) -> np.ndarray:
    stylization = method.stylize([CONTENT], [Region(style or fitted())], tiny_house(), seed, Silent(), Memory())[0]
    return np.asarray(stylization.picture).astype(int)


def test_strength_zero_is_the_autoencoders_content() -> None:
    backbone = tiny_house()
    working = usual_sizing(CONTENT.size, QUICK.size, backbone).working
    with torch.no_grad():
        decoded = backbone.decode(backbone.encode(image_to_pixels(CONTENT.image, working)))
    expected = np.asarray(pixels_to_image(decoded, CONTENT.size)).astype(int)
    assert np.array_equal(result(dataclasses.replace(QUICK, strength=0.0)), expected)


def test_the_result_has_the_contents_size_and_alpha() -> None:
    image = smooth_image(75, 101)
    image.putalpha(100)
    content = Picture.of(image, "clear")
    stylization = QUICK.stylize([content], [Region(fitted())], tiny_house(), 0, Silent(), Memory())[0]
    assert stylization.picture.size == (101, 75)
    assert stylization.alpha is not None and stylization.alpha.getextrema() == (100, 100)


def test_same_seed_same_picture_and_seeds_matter_with_noise() -> None:
    noisy = dataclasses.replace(QUICK, start="noise")
    assert np.array_equal(result(noisy, 1), result(noisy, 1))
    assert not np.array_equal(result(noisy, 1), result(noisy, 2))


def test_without_losses_it_is_plain_guided_denoising() -> None:
    silent = {name: 0.0 for name in QUICK.weights}
    assert np.array_equal(
        result(dataclasses.replace(QUICK, force=0.0)), result(dataclasses.replace(QUICK, weights=silent))
    )
    assert not np.array_equal(result(dataclasses.replace(QUICK, force=0.0)), result(QUICK))


@pytest.mark.parametrize("gradient", ["x0", "unet"])
def test_one_steered_step_lowers_the_loss(gradient: str) -> None:
    method = dataclasses.replace(QUICK, gradient=gradient, force=0.02)
    backbone = tiny_house()
    pixels = image_to_pixels(CONTENT.image, (96, 72))
    objective = method.objective(
        pixels, method.statistics(fitted(), pixels.device), perceptual_trunk(torch.device("cpu"))
    )
    predict = method.predictor(fitted(), backbone)
    with torch.no_grad():
        latents = backbone.encode(pixels)
        moment = Moment(0, 200, float(backbone.alphas_cumprod[200]), latents, predict(latents, 200))
    moved, _ = method.steered(moment, backbone, predict, objective)
    with torch.no_grad():
        before = objective(backbone.decode(moment.clean))[0]
        after = objective(backbone.decode(moved.clean))[0]
    assert after < before
    if gradient == "unet":
        assert (moved.noise - moment.noise).square().mean().sqrt().item() == pytest.approx(0.02, rel=1e-3)
    else:
        displacement = (moved.clean - moment.clean).square().mean().sqrt().item()
        assert displacement == pytest.approx(0.02 * (1 - moment.abar) ** 0.5, rel=1e-3)
        assert torch.equal(moved.noise, moment.noise)


def test_a_gradient_is_brought_to_rms_one_for_each_picture() -> None:
    gradient = torch.randn(3, 8, 4, 4) * torch.tensor([1e-6, 1.0, 1e4])[:, None, None, None]
    assert torch.allclose(normalised(gradient).square().mean((1, 2, 3)), torch.ones(3), rtol=1e-4)
    assert torch.equal(normalised(torch.zeros(1, 8, 4, 4)), torch.zeros(1, 8, 4, 4))


def test_the_model_is_left_as_it_was() -> None:
    unet = tiny_house().unet
    before = {name: value.clone() for name, value in unet.state_dict().items()}
    result(dataclasses.replace(QUICK, gradient="unet"))
    assert all(torch.equal(value, before[name]) for name, value in unet.state_dict().items())
    assert all(parameter.grad is None for parameter in unet.parameters())


def test_the_manifest_says_how_to_make_it_again() -> None:
    manifest = QUICK.stylize([CONTENT], [Region(fitted())], tiny_house(), 7, Silent(), Memory())[0].manifest
    assert manifest["seed"] == 7 and manifest["content"]["sha256"] == CONTENT.digest
    assert manifest["style"]["sha256"] == STYLE.digest and manifest["features"] == "hed"
    again = Guided(**manifest["settings"])
    assert np.array_equal(result(again, manifest["seed"]), result(QUICK, 7))


def test_a_style_of_another_model_or_method_is_refused_by_name() -> None:
    style = fitted()
    with pytest.raises(StyleError, match="fitted on the model tiny, not on other"):
        style.check("guided", "another", "other")
    with pytest.raises(StyleError, match="fitted for guided"):
        style.check("s2prest", style.fingerprint, "tiny")


@pytest.mark.parametrize(
    "wrong", [{"strength": 1.5}, {"start": "magic"}, {"gradient": "none"}, {"inner": 0}, {"force": -1.0}]
)
def test_settings_outside_their_range_are_refused(wrong: dict) -> None:
    with pytest.raises(SettingError):
        Guided(**wrong)


def test_a_prompt_without_the_placeholder_needs_no_word() -> None:
    plain = dataclasses.replace(QUICK, prompt="a painting")
    assert not np.array_equal(result(plain), result(QUICK))
