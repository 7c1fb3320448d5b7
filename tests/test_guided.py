"""Loss-guided diffusion on a tiny model: its invariants, its settings, its bookkeeping."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.conftest import smooth_image
from tests.tiny_house import tiny_house
from velatura.cache import Cache
from velatura.diffusion.denoising import DenoisingStep
from velatura.errors import ModelError, SettingError, StyleError
from velatura.losses import LossInput
from velatura.methods.base import Stylization
from velatura.methods.colours import recoloured
from velatura.methods.context import RunContext
from velatura.methods.guided import Guided
from velatura.methods.guided.acting import note_once
from velatura.methods.guided.contrast import with_style_contrast
from velatura.methods.guided.loss_record import LossRecord
from velatura.methods.guided.objectives import EncodedContent, RegionObjective
from velatura.methods.guided.sizing import usual_size
from velatura.methods.guided.steering import (
    GRADIENT_SCALES,
    GRADIENTS,
    LOSS_INPUTS,
    Steering,
    Traced,
    at_resolution,
)
from velatura.methods.latent_grid import grid_channels, without_grid
from velatura.models.backbone import Prediction
from velatura.models.encoders.choice import without_clip
from velatura.models.noise_schedule import add_noise
from velatura.picture import Picture, image_to_pixels, pixels_to_image
from velatura.regions import Placement, Region
from velatura.regions.query import PolygonQuery
from velatura.registry import preset_settings
from velatura.span import Span
from velatura.style import Style

CONTENT, STYLE = Picture.of(smooth_image(72, 96), "content"), Picture.of(smooth_image(64, 64, 1), "style")
QUICK = Guided(steps=6, strength=0.5, size=64)


def context(seed: int = 0) -> RunContext:
    return RunContext(tiny_house(), seed)


def fitted(method: Guided = QUICK) -> Style:
    return method.fit(STYLE, "style", context())


def stylized(method: Guided, *regions: Region, seed: int = 0, content: Picture = CONTENT) -> Stylization:
    return method.stylize([content], regions, context(seed))[0]


def result(method: Guided, seed: int = 0, style: Style | None = None) -> np.ndarray:
    return np.asarray(stylized(method, Region(style or fitted()), seed=seed).picture).astype(int)


def test_strength_zero_is_the_autoencoders_content() -> None:
    backbone = tiny_house()
    working = usual_size(CONTENT.size, QUICK.size, backbone)
    with torch.no_grad():
        decoded = backbone.decode(backbone.encode(image_to_pixels(CONTENT.image, working)))
    expected = np.asarray(pixels_to_image(decoded, CONTENT.size)).astype(int)
    assert np.array_equal(result(dataclasses.replace(QUICK, strength=0.0)), expected)


def test_the_result_has_the_contents_size_and_alpha() -> None:
    image = smooth_image(75, 101)
    image.putalpha(100)
    content = Picture.of(image, "clear")
    stylization = stylized(QUICK, Region(fitted()), content=content)
    assert stylization.picture.size == (101, 75)
    assert stylization.alpha is not None and stylization.alpha.getextrema() == (100, 100)


def test_what_the_autoencoder_loses_of_the_start_is_put_back() -> None:
    still = dataclasses.replace(QUICK, palette=0.0, contrast=0.0, guidance_rms=0.0, guidance_scale=1.0)
    asked = np.asarray(CONTENT.image).astype(int)
    sharp, soft = (np.abs(result(dataclasses.replace(still, sharpness=share)) - asked).mean() for share in (1.0, 0.0))
    assert sharp < 0.8 * soft


def test_the_start_takes_the_styles_contrast_and_colours_in_its_region_alone() -> None:
    pixels = image_to_pixels(CONTENT.image)
    left = Region(fitted(), PolygonQuery(((0, 0), (48, 0), (48, 72), (0, 72))))

    def in_colours(pixels: Tensor, placement: Placement, share: float) -> Tensor:
        return recoloured(pixels, pixels, placement, share)

    for move in (with_style_contrast, in_colours):
        moved = move(pixels, QUICK.place([left], CONTENT), 1.0)
        assert not torch.allclose(moved[..., :40], pixels[..., :40], atol=0.02)
        assert torch.equal(moved[..., 60:], pixels[..., 60:])
        assert torch.equal(move(pixels, QUICK.place([left], CONTENT), 0.0), pixels)
        assert torch.equal(move(pixels, QUICK.place([Region(WORDS)], CONTENT), 1.0), pixels)


def test_a_flat_sky_is_pushed_less() -> None:
    flat = smooth_image(72, 96)
    flat.paste((180, 190, 200), (0, 0, 96, 36))
    content, moved = Picture.of(flat, "sky"), []
    for share in (0.0, 1.0):
        method = dataclasses.replace(QUICK, flat_push=share, weights={"palette": 6.0}, crop=1.0, contrast=0.0)
        plain = dataclasses.replace(method, guidance_rms=0.0)
        pictures = (np.asarray(stylized(each, Region(fitted()), content=content).picture) for each in (method, plain))
        pushed, unpushed = (picture.astype(int) for picture in pictures)
        moved.append(np.abs(pushed - unpushed)[:24].mean() / np.abs(pushed - unpushed).mean())
    assert moved[0] < moved[1]


def test_same_seed_same_picture_and_seeds_matter_with_noise() -> None:
    noisy = dataclasses.replace(QUICK, start="noise")
    assert np.array_equal(result(noisy, 1), result(noisy, 1))
    assert not np.array_equal(result(noisy, 1), result(noisy, 2))


def test_without_losses_it_is_plain_guided_denoising() -> None:
    silent = {name: 0.0 for name in QUICK.weights}
    assert np.array_equal(
        result(dataclasses.replace(QUICK, guidance_rms=0.0)), result(dataclasses.replace(QUICK, weights=silent))
    )
    assert not np.array_equal(result(dataclasses.replace(QUICK, guidance_rms=0.0)), result(QUICK))


@pytest.mark.parametrize("loss_input", ["x0", "blend"])
@pytest.mark.parametrize("gradient", ["x0", "unet"])
def test_one_steered_step_lowers_the_loss(gradient: str, loss_input: str) -> None:
    backbone, regions = tiny_house(), [Region(fitted())]
    pixels = image_to_pixels(CONTENT.image, (96, 72))
    shares = torch.ones(1, 1, 9, 12)
    with torch.no_grad():
        latents = backbone.encode(pixels)
        predict = QUICK.predictor(regions, shares, backbone)
        abar = float(backbone.schedule.alphas_cumprod[200])
        step = DenoisingStep(0, 200, abar, 0.0, latents, predict(latents, 200))
    drawless = dataclasses.replace(QUICK, weights={"mse": 0.3, "vgg": 0.5, "gram": 6.0, "colour": 4.0})
    (region,) = drawless.objectives(EncodedContent(pixels, latents), regions, shares, context())
    input_of = LOSS_INPUTS[loss_input]
    steering = Steering(backbone, Traced(predict), [region], latents, input_of, GRADIENT_SCALES["rms"], 0.02)
    moved, _ = GRADIENTS[gradient](steering, step)
    with torch.no_grad():
        before, after = (
            region.objective(backbone.decode(seen), seen, steering.content(region, step))[0]
            for seen in (input_of(at.x0, step) for at in (step, moved))
        )
    assert after < before
    if gradient == "unet":
        assert (moved.noise - step.noise).square().mean().sqrt().item() == pytest.approx(0.02, rel=1e-3)
    else:
        displacement = (moved.x0 - step.x0).square().mean().sqrt().item()
        assert displacement == pytest.approx(0.02 * (1 - step.abar) ** 0.5, rel=1e-3)
        assert torch.equal(moved.noise, step.noise)


def test_the_blend_of_the_content_itself_is_no_content_distance() -> None:
    backbone, pixels = tiny_house(), image_to_pixels(CONTENT.image, (96, 72))
    method = dataclasses.replace(QUICK, weights={"mse": 1.0, "vgg": 1.0, "zecon": 0.0})
    with torch.no_grad():
        latents, noise = backbone.encode(pixels), torch.randn(1, 8, 9, 12)
        content, shares = EncodedContent(pixels, latents), torch.ones(1, 1, 9, 12)
        (region,) = method.objectives(content, [Region(fitted())], shares, context())
        step = DenoisingStep(0, 400, 0.3, 0.0, add_noise(latents, noise, 0.3), Prediction(noise))
        predict = Traced(lambda x, t: Prediction(noise))
        steering = Steering(backbone, predict, [region], latents, LOSS_INPUTS["blend"], GRADIENT_SCALES["raw"])
        seen = LOSS_INPUTS["blend"](latents, step)
        assert region.objective(backbone.decode(seen), seen, steering.content(region, step))[0].item() < 1e-8


def test_the_gradient_of_a_quadratic_moves_eps_and_x0_alike() -> None:
    """On data N(0, 1) eps = sqrt(1 - abar) x: x0' = x0 + (s^2 / a) g through the network, by chain rule."""
    abar = 0.4
    x = torch.randn(1, 3, 8, 8)
    target = torch.randn(1, 3, 8, 8)

    class Identity:
        def decode(self, latents: Tensor) -> Tensor:
            return latents

    class Quadratic:
        terms = (None,)

        def acting(self, progress: float) -> tuple[None]:
            return self.terms

        def __call__(self, pixels: Tensor, latents: Tensor, content: object, progress: float) -> tuple[Tensor, dict]:
            return (pixels - target).square().sum() / 2, {"quadratic": 0.0}

    step = DenoisingStep(0, 400, abar, 0.0, x, Prediction((1 - abar) ** 0.5 * x))
    region = RegionObjective(Quadratic(), (LossInput(x),))  # type: ignore[arg-type]
    steering = Steering(
        Identity(),  # type: ignore[arg-type]
        Traced(lambda latents, t: Prediction((1 - abar) ** 0.5 * latents)),
        [region],
        x,
        LOSS_INPUTS["x0"],
        GRADIENT_SCALES["raw"],
    )
    moved, _ = steering.through_unet(step)
    slope = abar**0.5  # dx0/dx for this denoiser
    wanted = step.x0 - (1 - abar) / abar**0.5 * slope * (step.x0 - target)
    assert torch.allclose(moved.x0, wanted, atol=1e-5)
    still, _ = steering.through_x0(step)
    assert torch.allclose(still.x0, step.x0 - (1 - abar) * (step.x0 - target), atol=1e-5)


def test_the_x0_gradient_leaves_the_unet_out_of_its_graph() -> None:
    backbone, calls = tiny_house(), []
    handle = backbone.unet.register_forward_hook(lambda *_: calls.append(torch.is_grad_enabled()))
    result(QUICK)
    handle.remove()
    assert calls and not any(calls)


def test_several_pushes_through_the_unet_go_further_down_and_share_one_pass() -> None:
    backbone, calls = tiny_house(), []
    handle = backbone.unet.register_forward_hook(lambda *_: calls.append(1))
    plain = dataclasses.replace(QUICK, gradient="unet", start="noise")
    result(plain)
    once, calls[:] = len(calls), []
    result(dataclasses.replace(plain, gradient_steps=3))
    handle.remove()
    assert len(calls) == once == 3
    far = dataclasses.replace(plain, gradient_scale="raw", weights={"mse_rgb": 300.0}, start="noise")
    content = np.asarray(CONTENT.image).astype(int)
    errors = [np.abs(result(dataclasses.replace(far, gradient_steps=count)) - content).mean() for count in (1, 3)]
    assert errors[1] < errors[0]


def test_recomputed_activations_give_the_same_picture() -> None:
    through = dataclasses.replace(QUICK, gradient="unet")
    assert np.array_equal(result(through), result(dataclasses.replace(through, activations="recomputed")))


def test_scales() -> None:
    gradient = torch.full((1, 3, 4, 4), 0.5)
    assert torch.equal(GRADIENT_SCALES["raw"](gradient, 0.1), gradient)
    assert GRADIENT_SCALES["rms"](gradient, 0.1).square().mean().sqrt().item() == pytest.approx(0.1)
    assert GRADIENT_SCALES["clipped"](gradient, 0.1).square().mean().sqrt().item() == pytest.approx(0.1)
    assert torch.equal(GRADIENT_SCALES["clipped"](gradient, 2.0), gradient)


def test_eta_draws_from_the_seed() -> None:
    ancestral = dataclasses.replace(QUICK, eta=1.0)
    assert np.array_equal(result(ancestral, 1), result(ancestral, 1))
    assert not np.array_equal(result(ancestral, 1), result(ancestral, 2))


def test_regions_keep_the_background_and_their_styles_apart() -> None:
    other = QUICK.fit(Picture.of(smooth_image(64, 64, 5), "other"), "other", context())
    right = Region(fitted(), BoxOfHalf(0.5))
    made = stylized(QUICK, right)
    content = np.asarray(CONTENT.image)
    assert np.array_equal(np.asarray(made.picture)[:, :48], content[:, :48])
    assert not np.array_equal(np.asarray(made.picture)[:, 48:], content[:, 48:])
    both = [Region(other, BoxOfHalf(0.5, left=True)), right]
    two = np.asarray(stylized(QUICK, *both).picture).astype(int)
    swapped = [Region(fitted(), BoxOfHalf(0.5, left=True)), Region(other, BoxOfHalf(0.5))]
    back = np.asarray(stylized(QUICK, *swapped).picture).astype(int)
    assert np.abs(two - back).mean() > 1
    everywhere = stylized(QUICK, Region(fitted(), BoxOfHalf(0.0)))
    assert np.abs(np.asarray(everywhere.picture).astype(int) - result(QUICK)).max() <= 1


def test_words_and_losses_obey_the_spans_of_regions() -> None:
    """A style that ends where another begins, both everywhere; the weight acts in pixels."""
    other = QUICK.fit(Picture.of(smooth_image(64, 64, 5), "other"), "other", context())
    early, late = Region(other, span=Span(0, 0.5)), Region(fitted(), span=Span(0.5, 1))
    words = dataclasses.replace(QUICK, palette=0.0, contrast=0.0, guidance_rms=0.0, guidance_scale=5.0)
    for method in (words, QUICK):
        pictures = [
            np.asarray(stylized(method, *regions).picture).astype(int)
            for regions in ([early, late], [late], [early], [Region(fitted())])
        ]
        assert all(np.abs(one - pictures[0]).max() > 0 for one in pictures[1:])
    half = np.asarray(stylized(QUICK, Region(fitted(), weight=0.5)).picture).astype(int)
    assert np.abs(half - (result(QUICK) + np.asarray(CONTENT.image)) / 2).max() <= 1


@pytest.mark.parametrize(
    ("settings", "softness"),
    [
        ({}, None),
        ({}, 0.0),
        ({}, 0.4),
        ({"crop": 0.4375}, 0.4),
        ({"start": "noise", "gradient": "unet", "gradient_steps": 2}, None),
    ],
)
def test_a_region_in_adjoining_spans_is_what_it_is_in_one(settings: dict[str, Any], softness: float | None) -> None:
    """Everywhere, within a hard mask and within a soft one, with the losses that are the default."""
    method = dataclasses.replace(QUICK, **settings)
    where = None if softness is None else BoxOfHalf(0.3, softness=softness)
    whole = stylized(method, Region(fitted(), where))
    split = stylized(method, *(Region(fitted(), where, span=span) for span in (Span(0, 0.34), Span(0.34, 1))))
    difference = np.abs(np.asarray(whole.picture).astype(int) - np.asarray(split.picture).astype(int))
    assert difference.max() == 0


def test_a_gray_style_makes_its_region_gray_and_no_other() -> None:
    gray = Picture.of(smooth_image(64, 64, 1).convert("L").convert("RGB"), "gray")
    left = Region(QUICK.fit(gray, "gray", context()), BoxOfHalf(0.5, left=True))
    made = stylized(QUICK, left, Region(fitted(), BoxOfHalf(0.5)))
    chroma = np.ptp(np.asarray(made.picture).astype(int), axis=2)
    assert 2 * chroma[:, :40].mean() < chroma[:, 56:].mean() > 20


@dataclasses.dataclass(frozen=True)
class BoxOfHalf:
    """Everything right (or left) of a share of the width; fading in over a share of ``softness`` more."""

    share: float
    left: bool = False
    softness: float = 0.0

    def __call__(self, picture: Picture) -> np.ndarray:
        mask = np.zeros(picture.size[::-1], np.float32)
        at = int(self.share * picture.size[0])
        mask[:, slice(0, at) if self.left else slice(at, None)] = 1
        if self.softness:
            mask *= ((np.arange(picture.size[0]) - at) / (self.softness * picture.size[0])).clip(0, 1)
        return mask


@pytest.mark.parametrize("name", ["poster", "zecon"])
def test_presets_are_settings_of_the_method(name: str) -> None:
    settings = {**preset_settings("guided", name), "size": 64, "steps": 4, "strength": 0.5}
    weights = {key: weight for key, weight in settings["weights"].items()}
    method = Guided(**{**settings, "weights": weights})
    made = stylized(method, Region(fitted()))
    assert set(made.scores) == {*weights, "unet_evaluations"}
    assert made.manifest["settings"]["gradient_scale"] == "rms" and "exploded" not in made.manifest
    assert made.manifest["image_encoder"].startswith("efficientnet-lite0, in place of CLIP")
    with pytest.raises(SettingError, match="poster, zecon"):
        preset_settings("guided", "none")


WORDS = Style("a sketch", "guided", "", "", {}, {"text": "a sketch"})


def test_losses_on_words_need_clip_and_nothing_is_promised_that_cannot_help(tmp_path: Path) -> None:
    method = dataclasses.replace(QUICK, weights={"clip_dir_patch": 1.0})
    with pytest.raises(SettingError, match="words 'a sketch', because CLIP is not here") as raised:
        stylized(method, Region(WORDS))
    assert "folder" not in str(raised.value) and "through the prompt" in str(raised.value)
    (tmp_path / "m.pt").touch()
    assert str(tmp_path / "clip") in without_clip(str(tmp_path / "m.pt"))
    assert "encoder of its own" in without_clip("house")


@pytest.fixture
def notes(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Warnings, those too that a session says once."""
    note_once.cache_clear()
    caplog.set_level(logging.WARNING, logger="velatura")
    return caplog


def test_a_style_in_words_acts_through_the_prompt(notes: pytest.LogCaptureFixture) -> None:
    """Losses that need a picture are off by themselves, said once and in the manifest."""
    made, _ = stylized(QUICK, Region(WORDS)), stylized(QUICK, Region(WORDS))
    assert made.manifest["losses_off"] == ["palette", "texture"] and "texture" not in made.scores
    assert [record.getMessage() for record in notes.records] == [
        "The style 'a sketch' is in words: what needs a style picture is off (the loss texture, the loss palette, "
        "moving colours and contrast)."
    ]
    spelt = dataclasses.replace(QUICK, prompt="a painting in the style of a sketch")
    backbone = tiny_house()
    assert QUICK.conditioning(WORDS, backbone).equals(spelt.conditioning(WORDS, backbone))
    other = dataclasses.replace(WORDS, card={"text": "a mosaic"})
    assert not np.array_equal(np.asarray(made.picture), np.asarray(stylized(QUICK, Region(other)).picture))
    assert "losses_off" not in stylized(QUICK, Region(fitted())).manifest


@pytest.mark.parametrize(
    ("style", "change"),
    [
        (WORDS, {"prompt": ""}),
        (WORDS, {"guidance_scale": 0.0}),
        (WORDS, {"prompt": "", "weights": {"clip_patch": 1.0}, "guidance_rms": 0.0}),
        (None, {"prompt": "", "palette": 0.0, "contrast": 0.0, "weights": {"mse": 1.0, "texture": 0.0}}),
    ],
)
def test_a_run_in_which_nothing_of_the_style_can_act_is_refused(style: Style | None, change: dict) -> None:
    with pytest.raises(SettingError, match=r"Nothing of the style '.*' can act: .*--set prompt="):
        stylized(dataclasses.replace(QUICK, **change), Region(style or fitted()))


def test_weights_for_pixels_set_only_the_ratios_on_a_latent_model(notes: pytest.LogCaptureFixture) -> None:
    settings = preset_settings("guided", "zecon")
    latent = Guided(**settings).resolved(tiny_house())
    assert latent == Guided(**{**settings, "gradient_scale": "rms", "guidance_scaling": "plain"})
    assert any("ratios only" in record.getMessage() for record in notes.records)

    class OfPixels:
        factor = 1
        recommended_settings: ClassVar[dict[str, str]] = {}

    assert Guided(**settings).resolved(OfPixels()).gradient_scale == "raw"  # type: ignore[arg-type]


def test_a_content_loss_that_explodes_is_reported(notes: pytest.LogCaptureFixture) -> None:
    wild = dataclasses.replace(QUICK, gradient="unet", gradient_scale="raw", weights={"mse_rgb": 1.0, "texture": 1e5})
    made = stylized(wild, Region(fitted()))
    first, last = made.manifest["exploded"]["mse_rgb"]
    assert last > 10 * first and made.scores["mse_rgb"] == last
    assert any("content: the content loss mse_rgb grew" in record.getMessage() for record in notes.records)
    assert "exploded" not in stylized(QUICK, Region(fitted())).manifest


def test_a_loss_that_is_not_finite_any_more_has_exploded() -> None:
    losses = LossRecord()
    for value in (0.1, float("nan")):
        losses.add({"mse.0": value, "vgg.0": 0.1, "texture.0": 100 * value})
    assert list(losses.exploded()) == ["mse.0"]


def test_losses_on_encoder_maps_need_a_unet_and_the_others_do_not() -> None:
    class WithoutUNet:
        """A model of which only the denoising, the autoencoder and the schedule are known."""

        def __getattr__(self, name: str) -> object:
            if name in ("unet", "encoder_maps", "encode_prompt", "style_word", "word_of_embedding"):
                raise AttributeError(name)
            return getattr(tiny_house(), name)

    run = RunContext(WithoutUNet())  # type: ignore[arg-type]
    style = QUICK.fit(STYLE, "style", run)
    assert "word" not in style.tensors and "word" in fitted().tensors
    assert QUICK.stylize([CONTENT], [Region(style)], run)[0].picture.size == CONTENT.size
    with pytest.raises(ModelError, match="loss zecon needs a UNet's encoder, which the model tiny has not"):
        dataclasses.replace(QUICK, weights={"zecon": 1.0}).stylize([CONTENT], [Region(style)], run)


def test_a_gradient_is_brought_to_rms_one_for_each_picture() -> None:
    gradient = torch.randn(3, 8, 4, 4) * torch.tensor([1e-6, 1.0, 1e4])[:, None, None, None]
    rms = GRADIENT_SCALES["rms"]
    assert torch.allclose(rms(gradient, 1.0).square().mean((1, 2, 3)), torch.ones(3), rtol=1e-4)
    assert torch.equal(rms(torch.zeros(1, 8, 4, 4), 1.0), torch.zeros(1, 8, 4, 4))


def test_the_model_is_left_as_it_was() -> None:
    unet = tiny_house().unet
    before = {name: value.clone() for name, value in unet.state_dict().items()}
    result(dataclasses.replace(QUICK, gradient="unet"))
    assert all(torch.equal(value, before[name]) for name, value in unet.state_dict().items())
    assert all(parameter.grad is None for parameter in unet.parameters())


def test_the_manifest_says_how_to_make_it_again() -> None:
    manifest = stylized(QUICK, Region(fitted()), seed=7).manifest
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
    "wrong",
    [{"strength": 1.5}, {"start": "magic"}, {"gradient": "none"}, {"gradient_steps": 0}, {"guidance_rms": -1.0}],
)
def test_settings_outside_their_range_are_refused(wrong: dict) -> None:
    with pytest.raises(SettingError):
        Guided(**wrong)


def test_a_prompt_without_the_placeholder_needs_no_word() -> None:
    plain = dataclasses.replace(QUICK, prompt="a painting")
    assert not np.array_equal(result(plain), result(QUICK))


@pytest.mark.parametrize("corrections", [0, 1])
def test_a_sweep_repeats_neither_the_inversion_nor_what_is_made_of_the_style(corrections: int) -> None:
    backbone, cache, spent = tiny_house(), Cache(), {True: 0, False: 0}
    weights = {"texture": 1.0, "palette": 1.0}
    for strength in (1.0, 0.5):
        method = dataclasses.replace(QUICK, strength=strength, corrections=corrections, weights=weights)
        made = {}
        for cached in (True, False):
            before = backbone.evaluations
            run = RunContext(backbone, 0, cache if cached else Cache())
            made[cached] = method.stylize([CONTENT], [Region(fitted())], run)[0].picture
            spent[cached] += backbone.evaluations - before
        assert np.array_equal(np.asarray(made[True]), np.asarray(made[False]))
    assert spent[False] - spent[True] == 3 + corrections  # of the three steps that both walk up
    assert cache.hits == 4  # the inversion, the textures, the palette, the grid of the latents


def test_statistics_of_other_features_than_those_at_hand_are_made_again() -> None:
    strange = {key: value * 0 if key.startswith("gram.") else value for key, value in fitted().tensors.items()}
    method = dataclasses.replace(QUICK, size=0, weights={"gram": 1.0}, palette=0.0)
    own = method.fit(STYLE, "style", context())
    other = dataclasses.replace(own, tensors=strange, card={**own.card, "features": "others"})
    assert own.card["features"] == "hed"
    backbone, pixels = tiny_house(), image_to_pixels(CONTENT.image, (96, 72))
    latents = backbone.encode(pixels)
    content, shares = EncodedContent(pixels, latents), torch.ones(1, 1, 9, 12)
    (region,) = method.objectives(content, [Region(other)], shares, context())
    assert all(gram.abs().sum() > 0 for gram in region.objective.terms[0].loss.style.values())


def test_each_step_compares_the_crop_whose_turn_it_is() -> None:
    backbone, pixels = tiny_house(), image_to_pixels(CONTENT.image, (160, 120))
    method = dataclasses.replace(QUICK, weights={"vgg": 1.0}, crop=0.5)
    with torch.no_grad():
        latents = backbone.encode(pixels)
        content, shares = EncodedContent(pixels, latents), torch.ones(1, 1, 15, 20)
        (region,) = method.objectives(content, [Region(fitted())], shares, context())
        assert len(region.contents) == 3 * 3 and region.content(10) is region.contents[1]
        for seen in region.contents:
            assert seen.crop is not None
            assert region.objective(pixels, latents, seen)[0].item() < 1e-8
            # What lies outside of the crop does not count.
            outside = torch.randn_like(pixels)
            seen.crop.of(outside).copy_(seen.crop.of(pixels))
            assert region.objective(outside, latents, seen)[0].item() < 1e-8
            assert region.objective(pixels.flip(2), latents, seen)[0].item() > 1e-3
    whole, narrow = (result(dataclasses.replace(QUICK, size=128, crop=crop)) for crop in (1.0, 0.5))
    assert not np.array_equal(whole, narrow)
    for crop in (0.0, 1.5):
        with pytest.raises(SettingError, match="crop must be"):
            Guided(crop=crop)


def test_losses_get_no_more_than_their_resolution() -> None:
    pixels = image_to_pixels(CONTENT.image, (96, 72))
    assert at_resolution(pixels, 0) is pixels and at_resolution(pixels, 72) is pixels
    assert at_resolution(pixels, 64).shape == (1, 3, 64, 85)
    flat = torch.full((1, 3, 90, 120), 0.3)
    assert torch.allclose(at_resolution(flat, 64), torch.tensor(0.3))
    large = dataclasses.replace(QUICK, size=128)
    whole, wide, narrow = (result(dataclasses.replace(large, loss_resolution=side)) for side in (0, 128, 64))
    assert np.array_equal(whole, wide) and not np.array_equal(whole, narrow)
    with pytest.raises(SettingError, match="loss_resolution must be 0 or from 64 to 4096, not 20"):
        Guided(loss_resolution=20)


def test_a_push_keeps_out_of_the_channels_whose_constant_is_a_grid() -> None:
    class Blocks:
        """Two channels: a colour, and a pattern within each cell of 8 pixels."""

        factor = 8

        def decode(self, latents: Tensor) -> Tensor:
            pattern = torch.zeros(8, 8)
            pattern[:4], pattern[4:] = 1, -1
            colour, grid = (latents[:, [k]].repeat_interleave(8, 2).repeat_interleave(8, 3) for k in (0, 1))
            return (colour + grid * pattern.repeat(latents.shape[2], latents.shape[3])).expand(-1, 3, -1, -1)

    channels = grid_channels(Blocks(), torch.zeros(1, 2, 9, 12))  # type: ignore[arg-type]
    assert channels.tolist() == [0, 1]
    push = torch.randn(1, 2, 9, 12, generator=torch.Generator().manual_seed(0))
    push[:, 1] += 3
    calm = without_grid(push, channels)
    assert torch.equal(calm[:, 0], push[:, 0])
    assert calm[:, 1].mean().abs() < 0.1
    assert without_grid(torch.ones(1, 2, 9, 12), channels)[:, 1].abs().max() < 1e-6
