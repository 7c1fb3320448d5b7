"""DiffStyler: adapters and injection leave no trace, regions keep their place, LoRA files of others."""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from tests.conftest import Impatient, smooth_image
from tests.tiny_house import tiny_house
from velatura.cache import Cache
from velatura.diffusion.attention_control import changed, recorded
from velatura.diffusion.latents import channel_moments, held, mixed_noise, with_moments
from velatura.errors import ModelError, SettingError, StyleError
from velatura.methods.base import Method, Stylization, WorkingPicture
from velatura.methods.context import RunContext
from velatura.methods.diffstyler import DiffStyler
from velatura.methods.diffstyler.fitting import inversion_moments
from velatura.methods.diffstyler.injection import Injection, Schedule, injection_sites
from velatura.methods.diffstyler.style import LoraStyle
from velatura.methods.recommendations import recommended
from velatura.methods.region_tones import unclipped
from velatura.models.backbone import Conditioning, Prediction
from velatura.models.latent import LatentBackbone
from velatura.models.lora import attached, fresh_adapter, using
from velatura.models.lora_files import read_lora, save_lora
from velatura.models.noise_schedule import ddim_step
from velatura.picture import Picture, image_to_pixels, pixels_to_image
from velatura.regions import Placement, Region
from velatura.regions.masks import Mask
from velatura.reproductions.diffstyler import DiffStylerOriginal, cells_of_mask, mask_picture, published_text
from velatura.span import Span
from velatura.style import Style

QUICK = DiffStyler(
    steps=5,
    size=64,
    guidance_scale=4.0,
    fit_steps=4,
    fit_size=64,
    fit_every=2,
    rank=4,
    fit_rate=1e-2,
    palette=0.0,
    hold=0.0,
    detail=0.0,
    start_adain=0.25,
)
CONTENT = Picture.of(smooth_image(64, 80, 0), "content")
STYLE = Picture.of(smooth_image(80, 80, 1), "style")


@dataclasses.dataclass(frozen=True)
class Given:
    """A query whose answer is known."""

    mask: bytes
    shape: tuple[int, int]

    def __call__(self, picture: Picture) -> Mask:
        return np.frombuffer(self.mask, np.float32).reshape(self.shape).copy()


def where(mask: np.ndarray) -> Given:
    return Given(mask.astype(np.float32).tobytes(), mask.shape)


HALF = np.zeros((64, 80), np.float32)
HALF[:, 40:] = 1


@lru_cache(maxsize=2)
def fitted(seed: int = 1) -> Style:
    picture = Picture.of(smooth_image(80, 80, seed), f"style{seed}")
    return QUICK.fit(picture, f"style{seed}", RunContext(tiny_house()))


def run(method: Method, *regions: Region) -> Stylization:
    return method.stylize([CONTENT], regions or [Region(fitted())], RunContext(tiny_house()))[0]


def array(stylization: Stylization) -> np.ndarray:
    return np.asarray(stylization.picture).astype(int)


def noise_at(x: Tensor, timestep: int, condition: Conditioning) -> Tensor:
    return tiny_house().predict(x, timestep, condition).noise


def weights() -> dict[str, Tensor]:
    return {key: value.clone() for key, value in tiny_house().unet.state_dict().items()}


def same(before: dict[str, Tensor]) -> bool:
    after = tiny_house().unet.state_dict()
    return list(before) == list(after) and all(torch.equal(before[key], after[key]) for key in before)


def test_fitting_and_stylising_leave_the_unet_bit_identical() -> None:
    before = weights()
    unet = tiny_house().unet
    modules = [type(module) for module in unet.modules()]
    run(QUICK)
    with pytest.raises(KeyboardInterrupt), attached(unet, {"a": fitted().tensors}):
        raise KeyboardInterrupt
    assert same(before) and modules == [type(module) for module in unet.modules()]
    assert not any(module._forward_hooks for module in unet.modules())


def test_an_adapter_acts_only_while_it_is_used_and_a_fresh_one_changes_nothing() -> None:
    backbone = tiny_house()
    x, condition = torch.randn(1, 8, 8, 8), backbone.encode_prompt(["a painting"])
    fresh = fresh_adapter(backbone.unet, 4, torch.Generator().manual_seed(0))
    with torch.no_grad():
        plain = noise_at(x, 500, condition)
        with attached(backbone.unet, {"fitted": fitted().tensors, "fresh": fresh}):
            assert torch.allclose(noise_at(x, 500, condition), plain, atol=1e-6)
            with using(backbone.unet, "fitted"):
                assert not torch.allclose(noise_at(x, 500, condition), plain, atol=1e-4)
            with using(backbone.unet, "fresh"):
                assert torch.allclose(noise_at(x, 500, condition), plain, atol=1e-6)


def test_a_pass_injected_with_itself_is_the_same_and_with_another_is_not() -> None:
    backbone = tiny_house()
    sites = injection_sites(backbone.unet)
    x, other, condition = torch.randn(1, 8, 8, 8), torch.randn(1, 8, 8, 8), backbone.encode_prompt([""])
    whole, nothing = Injection(True, 1.0), Injection(False, 0.0)
    with torch.no_grad():
        with recorded(backbone.unet, whole.shares(sites)) as source:
            plain = noise_at(x, 300, condition)
        with recorded(backbone.unet, whole.shares(sites)) as foreign:
            noise_at(other, 300, condition)
        with changed(backbone.unet, whole.changes(sites, source)):
            assert torch.allclose(noise_at(x, 300, condition), plain, atol=1e-5)
        with changed(backbone.unet, whole.changes(sites, foreign)):
            moved = noise_at(torch.cat([x, x]), 300, condition)
        assert not torch.allclose(moved[:1], plain, atol=1e-3)
        assert torch.allclose(moved[:1], moved[1:], atol=1e-5)
        with changed(backbone.unet, nothing.changes(sites, foreign)):
            assert torch.equal(noise_at(x, 300, condition), plain)


def test_the_schedule_of_injection() -> None:
    full = Schedule(0.8, 0.5)
    assert full.at(0.0, 981, 1000) == Injection(True, 1.0)
    assert full.at(0.5, 481, 1000) == Injection(True, 0.0)
    assert full.at(0.8, 181, 1000) == Injection(False, 0.0)
    assert Schedule(1.0, 1.0, "adaptive").at(0.75, 250, 1000) == Injection(True, 0.5)
    over = full.over((801, 601, 401, 201, 1), 1000)  # at progress 0, 0.2, …
    assert list(over) == [801, 601, 401, 201, 1] and [each.feature for each in over.values()] == [True] * 4 + [False]
    assert [each.attention for each in over.values()] == [1.0, 1.0, 1.0, 0.0, 0.0]


def test_outside_the_mask_every_byte_is_the_contents() -> None:
    result = array(run(QUICK, Region(fitted(), where(HALF))))
    content = np.asarray(CONTENT.image).astype(int)
    assert np.array_equal(result[:, :40], content[:, :40])
    assert not np.array_equal(result[:, 40:], content[:, 40:])


def test_an_empty_mask_changes_nothing_and_a_whole_one_is_the_whole_transfer() -> None:
    assert np.array_equal(array(run(QUICK, Region(fitted(), where(0 * HALF)))), np.asarray(CONTENT.image).astype(int))
    assert np.array_equal(array(run(QUICK, Region(fitted(), where(np.ones_like(HALF))))), array(run(QUICK)))


def test_a_region_under_another_has_no_effect_where_it_is_hidden() -> None:
    one = run(QUICK, Region(fitted(1), where(HALF)))
    both = run(QUICK, Region(fitted(2), where(HALF)), Region(fitted(1), where(HALF)))
    assert np.abs(array(one) - array(both)).max() <= 1


def test_two_styles_keep_their_sides_and_ten_regions_work() -> None:
    both = array(run(QUICK, Region(fitted(1), where(1 - HALF)), Region(fitted(2), where(HALF))))
    assert both.shape == (64, 80, 3)
    assert (
        array(run(QUICK, *[Region(fitted(1 + i % 2), where(HALF * (i / 10))) for i in range(10)])).shape == both.shape
    )


def test_temporal_composition_hands_over_between_styles() -> None:
    early, late = Region(fitted(1), span=Span(0.0, 0.5)), Region(fitted(2), span=Span(0.5, 1.0))
    both = array(run(QUICK, early, late))
    assert not np.array_equal(both, array(run(QUICK, Region(fitted(1)))))
    assert not np.array_equal(both, array(run(QUICK, Region(fitted(2)))))
    whole = [Region(fitted(1), span=Span(0.0, 0.5)), Region(fitted(1), span=Span(0.5, 1.0))]
    assert np.abs(array(run(QUICK, *whole)) - array(run(QUICK))).max() <= 1
    with pytest.raises(SettingError, match="must lie in 0-1"):
        Region(fitted(), span=Span(0.7, 0.2))


def test_a_span_that_ends_keeps_what_it_made_and_one_that_begins_late_starts_from_the_content() -> None:
    half, content = where(HALF), np.asarray(CONTENT.image).astype(int)
    whole = array(run(QUICK, Region(fitted(), half)))
    early = array(run(QUICK, Region(fitted(), half, span=Span(0.0, 0.4))))
    still = array(run(dataclasses.replace(QUICK, strength=0.0), Region(fitted(), half)))
    change = np.abs(whole - still)[:, 44:].mean()
    assert np.abs(early - still)[:, 44:].mean() > 0.3 * change
    assert np.array_equal(early[:, :40], content[:, :40])
    late = array(run(QUICK, Region(fitted(), half, span=Span(0.8, 1.0))))
    unstarted = dataclasses.replace(QUICK, start_adain=0.0)
    assert np.array_equal(late, array(run(unstarted, Region(fitted(), half, span=Span(0.8, 1.0)))))


def test_the_weight_acts_once_in_pixels() -> None:
    whole, content = array(run(QUICK)), np.asarray(CONTENT.image).astype(int)
    for region in (Region(fitted(), weight=0.5), Region(fitted(), where(0.5 * np.ones_like(HALF)))):
        assert np.abs(array(run(QUICK, region)) - (whole + content) / 2).max() <= 1


def test_the_manifest_says_what_acted_in_each_region() -> None:
    late = Region(fitted(2), where(1 - HALF), span=Span(0.5, 1.0))
    manifest = run(QUICK, Region(fitted(1), where(HALF), 0.5), late).manifest
    assert [each["prompt"] for each in manifest["acted"]] == ["painting of <sss>"] * 2
    assert [each["start_adain"] for each in manifest["acted"]] == [QUICK.start_adain, 0.0]
    assert [each["style_identity"] for each in manifest["regions"]] == [fitted(seed).identity for seed in (1, 2)]
    assert [each["span"] for each in manifest["regions"]] == [[0, 1], [0.5, 1]]


def test_the_start_takes_the_styles_statistics_where_a_fit_kept_them() -> None:
    from_elsewhere = {key: value for key, value in fitted().tensors.items() if not key.startswith("start.")}
    elsewhere = Region(dataclasses.replace(fitted(), tensors=from_elsewhere))
    without = dataclasses.replace(QUICK, start_adain=0.0)
    assert not np.array_equal(array(run(QUICK)), array(run(without)))
    assert np.array_equal(array(run(QUICK, elsewhere)), array(run(without)))
    moments = LoraStyle.of(fitted()).start_moments(1e-3)
    assert moments is not None and torch.equal(moments, fitted().tensors["start.moments"][-1])
    given = with_moments(torch.randn(1, 8, 6, 6), moments, 1.0)
    assert torch.allclose(channel_moments(given), moments, atol=1e-3)


def test_the_statistics_are_those_of_what_the_style_mask_lets_in() -> None:
    pixels, inside = image_to_pixels(STYLE.image, (64, 64)), torch.zeros(8, 8, dtype=torch.bool)
    inside[:, :4] = True
    part = inversion_moments(pixels, inside, RunContext(tiny_house()))["start.moments"]
    latents = tiny_house().encode(pixels)[:, :, :, :4]
    assert torch.allclose(part[0], channel_moments(latents), atol=1e-5) and part.shape[:2] == (21, 2)


def test_the_start_mixes_the_styles_own_noise_into_its_region() -> None:
    noises = torch.randn(2, 1, 4, 64, 64, generator=torch.Generator().manual_seed(0))
    assert mixed_noise(*noises, 0.5).std().item() == pytest.approx(1, abs=0.02)
    assert torch.equal(mixed_noise(*noises, 0.0), noises[0]) and torch.equal(mixed_noise(*noises, 1.0), noises[1])
    mixing, half = dataclasses.replace(QUICK, start_mix=0.5), where(HALF)
    mixed, plain = (array(run(method, Region(fitted(), half))) for method in (mixing, QUICK))
    assert np.array_equal(mixed[:, :40], plain[:, :40]) and not np.array_equal(mixed, plain)
    pictureless = {key: value for key, value in fitted().tensors.items() if not key.startswith("picture.")}
    with pytest.raises(StyleError, match="set start_mix=0"):
        run(mixing, Region(dataclasses.replace(fitted(), tensors=pictureless)))


def test_what_was_not_set_is_what_the_model_recommends_or_the_paper() -> None:
    backbone = LatentBackbone(
        tiny_house().pipeline, "tiny", torch.device("cpu"), torch.float32, recommended_settings={"guidance_scale": 3.0}
    )
    settings = backbone.recommended_settings
    assert [recommended(asked, "guidance_scale", 10.5, settings) for asked in (0.0, 2.0)] == [3.0, 2.0]
    assert recommended(0.0, "lora_rate", 2e-4, settings) == 2e-4
    unset = dataclasses.replace(QUICK, guidance_scale=0.0)
    assert [method.resolved(backbone).guidance_scale for method in (unset, QUICK)] == [3.0, 4.0]
    asked = run(dataclasses.replace(QUICK, guidance_scale=10.5))
    assert np.array_equal(array(run(dataclasses.replace(QUICK, guidance_scale=0.0))), array(asked))


def test_the_cost_is_two_samples_a_region_and_the_source() -> None:
    def costs(method: DiffStyler, *regions: Region) -> tuple[float, float]:
        context, found = RunContext(tiny_house()), []
        for _ in range(2):
            result = method.stylize([CONTENT], regions, context)[0]
            found.append(result.scores["unet_evaluations"])
        return found[0], found[1]

    whole = dataclasses.replace(QUICK, feature_share=1.0, corrections=1)
    for count in (1, 2, 3):
        regions = [Region(fitted(), where(HALF))] * count
        assert costs(whole, *regions) == (5 + 1 + 5 * 2 * count, 5 * (1 + 2 * count))
        assert costs(dataclasses.replace(whole, source="walked"), *regions)[1] == 5 * (1 + 2 * count)


def test_recording_batching_and_sharing_change_nothing() -> None:
    backbone, context = tiny_house(), RunContext(tiny_house())
    method = dataclasses.replace(QUICK, feature_share=0.8, attention_share=0.6, fusion="adaptive", hold=0.0)
    regions = [Region(fitted(1), where(1 - HALF)), Region(fitted(2), where(HALF))]
    content = WorkingPicture(CONTENT, (80, 64), Placement.of(regions, CONTENT))
    levels, sites = backbone.schedule.ddim_levels(method.steps), injection_sites(backbone.unet)
    with torch.no_grad():
        source = method.inverted(content.pixels(), levels, context)
        shares = content.placement.shares((8, 10))
        start = method.start(source.trajectory, content.placement, context)
        ours = method.denoised(start, source, source.trajectory, content.placement, context)
        empty, negative = context.unconditional(), backbone.encode_prompt([method.negative_prompt])
        x = start
        for index, (timestep, below, above) in enumerate(reversed(levels.steps())):
            noise = torch.zeros_like(x)
            injection = method.schedule.at(index / 5, timestep, 1000)
            for region, share in zip(regions, shares, strict=True):
                with recorded(backbone.unet, injection.shares(sites)) as recording:
                    noise_at(source.inputs[timestep], timestep, empty)
                with (
                    attached(backbone.unet, {"own": region.style.tensors}),
                    using(backbone.unet, "own"),
                    changed(backbone.unet, injection.changes(sites, recording)),
                ):
                    unconditional = noise_at(x, timestep, negative)
                    guided = noise_at(x, timestep, LoraStyle.of(region.style).conditioning("", backbone))
                noise = noise + share * (unconditional + method.guidance_scale * (guided - unconditional))
            x = ddim_step(x, noise, above, below)
    assert torch.allclose(ours, x, atol=1e-3)


def test_sss_in_a_prompt_is_the_models_own_word_for_the_style_picture() -> None:
    backbone, style = tiny_house(), fitted()
    pixels = functional.interpolate(image_to_pixels(STYLE.image), (64, 64), mode="bilinear", antialias=True)
    word = backbone.style_word(pixels)
    told = LoraStyle.of(style).conditioning("", backbone).states
    assert word is not None and torch.allclose(style.tensors["word"], word, atol=1e-4)
    assert torch.allclose(told, backbone.encode_prompt(["painting of *"], word).states, atol=1e-4)
    other = LoraStyle.of(style).conditioning("a <sss> deer", backbone).states
    assert torch.allclose(other, backbone.encode_prompt(["a * deer"], word).states, atol=1e-4)
    imported = dataclasses.replace(style, tensors={k: v for k, v in style.tensors.items() if k != "word"})
    plain = backbone.encode_prompt(["painting of <sss>"]).states
    assert torch.equal(LoraStyle.of(imported).conditioning("", backbone).states, plain)
    assert not torch.allclose(told, plain, atol=1e-2)


def test_what_is_black_in_the_style_mask_is_not_in_the_word() -> None:
    context = RunContext(tiny_house())
    stained = STYLE.image.copy()
    stained.paste((255, 0, 0), (0, 0, 80, 40))
    lower = np.zeros((80, 80), np.uint8)
    lower[40:] = 255
    mask = Picture.of(Image.fromarray(lower).convert("RGB"), "mask")
    pictures = [Picture.of(image, "style") for image in (STYLE.image, stained)]
    clean, masked = (QUICK.fit(picture, "s", context, mask).tensors["word"] for picture in pictures)
    bare = QUICK.fit(pictures[1], "s", context).tensors["word"]
    off = [(word - clean).square().mean().item() for word in (masked, bare)]
    assert off[0] < 0.1 * off[1]


def test_a_kept_trajectory_gives_the_same_picture_and_a_walked_source_almost() -> None:
    context = RunContext(tiny_house(), cache=Cache())
    first, second = (QUICK.stylize([CONTENT], [Region(fitted())], context)[0] for _ in "ab")
    assert np.array_equal(array(first), array(second))
    exact = dataclasses.replace(QUICK, corrections=4)
    walked = run(dataclasses.replace(exact, source="walked"))
    assert np.abs(array(walked) - array(run(exact))).max() <= 2
    assert walked.scores["inversion_psnr"] > 40


def scattered(*corners: tuple[int, int]) -> list[Region]:
    """Regions of 24 px in ``LARGE``, by their left upper corners (x, y)."""
    masks = []
    for x, y in corners:
        mask = np.zeros((320, 480), np.float32)
        mask[y : y + 24, x : x + 24] = 1
        masks.append(mask)
    return [Region(fitted(1 + index % 2), where(mask)) for index, mask in enumerate(masks)]


LARGE = Picture.of(smooth_image(320, 480, 3), "large")


def test_small_regions_are_worked_on_in_crops_and_nothing_else_changes() -> None:
    context = RunContext(tiny_house())
    regions = scattered((20, 30), (380, 240))
    result = QUICK.stylize([LARGE], regions, context)[0]
    first, second = result.manifest["crops"]
    assert first["box"] == [0, 0, 128, 128] and first["regions"] == [0] and second["regions"] == [1]
    assert first["working_size"] == [64, 64] and first["acted"][0]["prompt"] == "painting of <sss>"
    changed_at = (array(result) != np.asarray(LARGE.image).astype(int)).any(2)
    inside = np.maximum(*(region.mask(LARGE) for region in regions)) > 0
    assert not changed_at[~inside].any() and changed_at[30:54, 20:44].any() and changed_at[240:264, 380:404].any()
    alone = QUICK.stylize([LARGE], regions[:1], context)[0]
    assert np.array_equal(array(alone)[:, :240], array(result)[:, :240])
    assert alone.manifest["working_size"] == [64, 64] and alone.manifest["acted"] == first["acted"]


def test_regions_that_touch_share_a_crop_and_the_whole_picture_can_be_asked_for() -> None:
    context = RunContext(tiny_house())
    near = QUICK.stylize([LARGE], scattered((20, 30), (44, 30)), context)[0]
    assert [crop["regions"] for crop in near.manifest["crops"]] == [[0, 1]]
    whole = dataclasses.replace(QUICK, region_size="picture").stylize([LARGE], scattered((20, 30)), context)[0]
    assert "crops" not in whole.manifest and whole.manifest["working_size"] == [96, 64]


def test_the_content_is_in_the_styles_palette_before_and_after() -> None:
    moved = array(run(dataclasses.replace(QUICK, palette=1.0)))
    content, style = (np.asarray(picture.image).astype(float) for picture in (CONTENT, STYLE))
    target = fitted().tensors["picture.00"].permute(1, 2, 0).numpy().astype(float)
    off = [np.abs(pixels.mean((0, 1)) - target.mean((0, 1))).sum() for pixels in (moved, content, style)]
    assert off[0] < off[1] and not np.array_equal(moved, array(run(QUICK)))


def test_coarse_forms_can_be_held_at_the_contents() -> None:
    latents, reference = torch.randn(2, 1, 8, 16, 16, generator=torch.Generator().manual_seed(0))
    assert torch.equal(held(latents, reference, 0.0), latents)
    assert torch.allclose(held(reference, reference, 1.0), reference)
    mean = held(latents, reference + 5, 1.0).mean().item()
    assert mean == pytest.approx(5, abs=0.3)
    fine = (-1.0) ** torch.arange(16) * torch.ones(1, 8, 16, 1)
    assert torch.allclose(held(fine, 0 * fine, 1.0)[..., 4:12], fine[..., 4:12], atol=0.02)


def test_what_a_style_drives_out_of_range_comes_back_with_its_detail() -> None:
    pixels = torch.linspace(0.5, 2.0, 64).expand(1, 3, 64, 64)
    half = np.zeros((64, 64), np.float32)
    half[:32] = 1
    placement = Placement((Region(fitted()),), (half,))
    moved = unclipped(pixels, placement)
    assert moved[:, :, :32].abs().max() < 1 and (moved[0, 0, 0].diff() > 0.004).all()
    assert torch.equal(moved[:, :, 32:], pixels[:, :, 32:])
    assert torch.equal(unclipped(pixels - 1, placement), pixels - 1)


def test_strength_zero_is_the_content_and_alpha_is_kept() -> None:
    image = smooth_image(64, 80, 0)
    image.putalpha(90)
    result = QUICK.stylize([Picture.of(image, "clear")], [Region(fitted())], RunContext(tiny_house()))[0]
    assert result.alpha is not None and result.alpha.getextrema() == (90, 90)
    backbone = tiny_house()
    with torch.no_grad():
        decoded = backbone.decode(backbone.encode(image_to_pixels(CONTENT.image)))
    expected = np.asarray(pixels_to_image(decoded)).astype(int)
    assert np.array_equal(array(run(dataclasses.replace(QUICK, strength=0.0))), expected)


def test_the_fit_is_seeded_and_resumes(tmp_path: Path) -> None:
    context = RunContext(tiny_house())
    again = QUICK.fit(Picture.of(smooth_image(80, 80, 1), "style1"), "style1", context)
    assert all(torch.equal(again.tensors[key], value) for key, value in fitted().tensors.items())
    checkpoint = tmp_path / "fit.safetensors"
    with pytest.raises(KeyboardInterrupt):
        QUICK.fit(STYLE, "style", RunContext(tiny_house(), progress=Impatient()), checkpoint=checkpoint)
    assert checkpoint.is_file()
    resumed = QUICK.fit(STYLE, "style", context, checkpoint=checkpoint)
    assert [step for step, _ in resumed.card["loss"]] == [2, 4] and not checkpoint.exists()
    whole = QUICK.fit(STYLE, "style", context)
    assert resumed.card["loss"] == whole.card["loss"] and resumed.identity == whole.identity


def test_fitting_lowers_the_loss_on_its_picture() -> None:
    method = dataclasses.replace(QUICK, fit_steps=40, fit_every=10, fit_batch=4)
    curve = method.fit(STYLE, "style", RunContext(tiny_house())).card["loss"]
    assert curve[-1][1] < curve[0][1]


def test_plain_diffusers_loads_an_exported_lora(tmp_path: Path) -> None:
    from diffusers import StableDiffusionPipeline

    backbone = tiny_house()
    backbone.pipeline.save_pretrained(tmp_path / "model")
    save_lora(fitted().tensors, tmp_path / "lora.safetensors")
    pipeline = StableDiffusionPipeline.from_pretrained(tmp_path / "model", safety_checker=None, image_encoder=None)
    pipeline.load_lora_weights(str(tmp_path / "lora.safetensors"))
    x, states = torch.randn(1, 8, 8, 8), backbone.encode_prompt(["a painting"]).states
    with torch.no_grad():
        theirs = pipeline.unet(x, 500, encoder_hidden_states=states).sample
        with attached(backbone.unet, {"a": fitted().tensors}), using(backbone.unet, "a"):
            ours = backbone.unet(x, 500, encoder_hidden_states=states).sample
    assert torch.allclose(ours, theirs, atol=1e-4)


def test_loras_in_other_layouts_are_the_same_adapter(tmp_path: Path) -> None:
    own = {key: value for key, value in fitted().tensors.items() if "lora" in key}
    assert_equal = lambda state: all(torch.allclose(state[key], value) for key, value in own.items())  # noqa: E731
    save_file({f"unet.{key}": value for key, value in own.items()}, tmp_path / "peft.safetensors")
    assert assert_equal(read_lora(tmp_path / "peft.safetensors"))
    processor = {}
    for key, value in own.items():
        module, _, side = key.removesuffix(".weight").rpartition(".")
        parent, _, projection = module.removesuffix(".0").rpartition(".")
        processor[f"unet.{parent}.processor.{projection}_lora.{'down' if side == 'lora_A' else 'up'}.weight"] = value
    torch.save(processor, tmp_path / "published.ckpt")
    assert assert_equal(read_lora(tmp_path / "published.ckpt"))
    for said, suffix in (("is damaged", "safetensors"), ("cannot be loaded", "ckpt")):
        (tmp_path / f"broken.{suffix}").write_bytes(b"no lora")
        with pytest.raises(StyleError, match=said):
            read_lora(tmp_path / f"broken.{suffix}")
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(StyleError, match="no LoRA"):
        read_lora(tmp_path / "other.safetensors")


def test_a_lora_for_another_model_is_refused() -> None:
    with pytest.raises(StyleError, match="sd15, not on tiny"):
        run(QUICK, Region(dataclasses.replace(fitted(), fingerprint="0" * 16, model="sd15")))
    key = next(iter(fitted().tensors))
    wrong = dict(fitted().tensors) | {key: torch.zeros(4, 7)}
    for method in (QUICK, DiffStylerOriginal()):
        with pytest.raises(StyleError, match="LoRA of the style 'style1' does not fit the model tiny"):
            run(method, Region(dataclasses.replace(fitted(), tensors=wrong)))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"feature_share": 2.0}, "from 0 to 1"),
        ({"fusion": "hot"}, "fusion must be"),
        ({"source": "x"}, "source must be"),
        ({"rank": 0}, "rank must be from 1 to 1024, not 0"),
        ({"feather": -1.0}, "feather must be from 0 to 1000, not -1"),
        ({"strength": -0.1}, "from 0 to 1"),
    ],
)
def test_bad_settings_are_one_sentence(change: dict[str, object], sentence: str) -> None:
    with pytest.raises(SettingError, match=sentence):
        dataclasses.replace(QUICK, **change)


def test_the_mask_may_be_of_another_size(tmp_path: Path) -> None:
    from velatura.regions import parse_query

    Image.fromarray((HALF * 255).astype(np.uint8)).resize((33, 21)).save(tmp_path / "small.png")
    result = array(run(QUICK, Region(fitted(), parse_query(str(tmp_path / "small.png")))))
    assert np.array_equal(result[:, :30], np.asarray(CONTENT.image).astype(int)[:, :30])


def test_a_model_without_a_text_encoder_is_refused() -> None:
    class Textless:
        name, unet = "textless", None

        def encoder_maps(self, latents: Tensor) -> tuple[Tensor, ...]:
            return (latents,)

    with pytest.raises(ModelError, match="textless has no text encoder, which --method diffstyler needs"):
        QUICK.check_backbone(Textless())  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="which --method diffstyler-original needs"):
        DiffStylerOriginal().check_backbone(Textless())  # type: ignore[arg-type]


def test_the_published_settings_of_the_reproduction() -> None:
    original = DiffStylerOriginal()
    for region in (Region(fitted(), weight=0.5), Region(fitted(), span=Span(0, 0.5))):
        with pytest.raises(SettingError, match="no weights or spans of regions"):
            original.stylize([CONTENT], [region], RunContext(tiny_house()))
    assert (original.steps, original.guidance_scale, original.fit_rate) == (50, 10.5, 2e-4)
    assert original.working_size((80, 64), tiny_house()) == (512, 512)
    placement = original.place([Region(fitted(), where(HALF))], CONTENT)
    other = smooth_image(64, 80, 3)
    assert np.array_equal(placement.masks[0], HALF) and placement.paste(other, CONTENT.image) is other
    with pytest.raises(SettingError, match="steps must be from 1 to 1000, not 0"):
        DiffStylerOriginal(steps=0)
    assert DiffStylerOriginal(size=256).working_size((80, 64), tiny_house()) == (256, 256)
    assert DiffStylerOriginal(size=0).working_size((80, 64), tiny_house()) == (512, 512)


def test_the_reproduction_reads_cells_from_the_mask_file_itself(tmp_path: Path) -> None:
    from velatura.regions import parse_query

    drawn = np.zeros((64, 64), np.uint8)
    drawn[::8, ::8] = 255  # none of these pixels is at the centre of a cell of 8
    Image.fromarray(drawn).save(tmp_path / "dots.png")
    region = Region(fitted(), parse_query(str(tmp_path / "dots.png")))
    placement = DiffStylerOriginal().place([region], CONTENT)
    assert not cells_of_mask(mask_picture(region, placement.masks[0]), (8, 8)).any()
    drawn[3::8, 3::8] = 200
    Image.fromarray(drawn).save(tmp_path / "dots.png")
    placement = DiffStylerOriginal().place([region], CONTENT)
    assert cells_of_mask(mask_picture(region, placement.masks[0]), (8, 8)).all()
    found = Region(fitted(), where(HALF))
    cells = cells_of_mask(mask_picture(found, HALF), (8, 10))
    assert not cells[:, :5].any() and cells[:, 5:].all()


def test_the_published_tokenizer_reads_each_punctuation_mark_for_itself() -> None:
    assert published_text("Painting of <sss>, d\u00e9er\n grass") == "painting of < sss > , deer grass"
    assert published_text("") == ""


def test_a_fit_draws_latents_noise_and_timesteps_in_the_trainers_order(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = tiny_house()
    drawn: list[Tensor] = []
    encode, predict = backbone.encode, backbone.predict

    def spied_encode(pixels: Tensor, noise: Tensor | None = None) -> Tensor:
        drawn.extend([] if noise is None else [noise])
        return encode(pixels, noise)

    def spied_predict(latents: Tensor, timestep: Tensor, conditioning: Conditioning) -> Prediction:
        drawn.append(torch.as_tensor(timestep))
        return predict(latents, timestep, conditioning)

    monkeypatch.setattr(backbone, "encode", spied_encode)
    monkeypatch.setattr(backbone, "predict", spied_predict)
    dataclasses.replace(QUICK, fit_steps=2).fit(STYLE, "style", RunContext(backbone))
    generator = torch.Generator().manual_seed(0)
    fresh_adapter(backbone.unet, QUICK.rank, generator)
    for posterior, timesteps in (drawn[0:2], drawn[2:4]):
        assert torch.equal(posterior, torch.randn(posterior.shape, generator=generator))
        torch.randn(posterior.shape, generator=generator)
        assert torch.equal(timesteps, torch.randint(1000, (1,), generator=generator))
