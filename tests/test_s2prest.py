"""S2PreST and InST: formulas in closed form, what must not change, fitting, and files of others."""

from __future__ import annotations

import dataclasses
import json
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from tests.conftest import Impatient, smooth_image, smooth_pixels
from tests.tiny_house import tiny_house, tiny_studio
from velatura.cache import Cache
from velatura.diffusion.guidance_scaling import local_means
from velatura.diffusion.latents import MOST_GAIN, adain, near_moments
from velatura.errors import ModelError, SettingError, StyleError
from velatura.methods.base import Stylization
from velatura.methods.context import RunContext
from velatura.methods.latent_grid import grid_channels
from velatura.methods.s2prest import InST, S2PreST
from velatura.methods.s2prest.edges import edge_weight
from velatura.methods.s2prest.embeddings_file import read_published_embeddings
from velatura.methods.s2prest.fitting import plateaued, spread_timesteps, warm_start
from velatura.methods.s2prest.quantities import ContentBatch, Noises, noised_mix
from velatura.methods.s2prest.word_map import WordMap
from velatura.models import house
from velatura.models.features.canny import canny_edges
from velatura.models.features.hed import hed_edges
from velatura.models.latent import LatentBackbone
from velatura.models.loading.load import load_backbone
from velatura.models.recommended import RECOMMENDED_FILE
from velatura.picture import Picture, image_to_pixels, pixels_to_image
from velatura.progress import Silent
from velatura.regions import Region
from velatura.reproductions.s2prest import InSTOriginal, S2PreSTOriginal
from velatura.style import Style
from velatura.style.pictures import picture_tensor
from velatura.style.textual_inversion import save_textual_inversion

QUICK = S2PreST(
    steps=6,
    strength=0.5,
    size=64,
    guidance_scale=3.0,
    inversion="ddim",
    fit_steps=4,
    fit_batch=2,
    fit_views=3,
    fit_check=2,
    fit_size=64,
)
CONTENT = Picture.of(smooth_image(72, 96, 0), "content")
STYLE = Picture.of(smooth_image(80, 80, 1), "style")


def context(**options: object) -> RunContext:
    return RunContext(tiny_house(), **options)


@lru_cache(maxsize=1)
def fitted() -> Style:
    return QUICK.fit(STYLE, "style", context())


def run(method: S2PreST, contents: list[Picture], style: Style | None = None, seed: int = 0) -> list[Stylization]:
    return method.stylize(contents, [Region(style or fitted())], context(seed=seed))


def array(stylization: Stylization) -> np.ndarray:
    return np.asarray(stylization.picture).astype(int)


def test_strength_zero_is_the_autoencoders_content() -> None:
    backbone = tiny_house()
    with torch.no_grad():
        decoded = backbone.decode(backbone.encode(image_to_pixels(CONTENT.image, (88, 64))))
    expected = np.asarray(pixels_to_image(decoded, CONTENT.size))
    assert np.array_equal(array(run(dataclasses.replace(QUICK, strength=0.0), [CONTENT])[0]), expected)


def test_strength_one_works_and_in_the_original_too() -> None:
    assert run(dataclasses.replace(QUICK, strength=1.0), [CONTENT])[0].picture.size == CONTENT.size
    assert S2PreSTOriginal(steps=6, strength=1.0).entry(tiny_house().schedule).timestep == 999


@pytest.mark.parametrize("inversion", ["ddim", "stochastic"])
def test_a_batch_gives_what_each_content_gives_alone(inversion: str) -> None:
    method = dataclasses.replace(QUICK, inversion=inversion)
    other = Picture.of(smooth_image(72, 96, 5), "other")
    tall = Picture.of(smooth_image(96, 72, 6), "tall")
    together = run(method, [CONTENT, tall, other])
    for content, result in zip([CONTENT, tall, other], together, strict=True):
        assert np.abs(array(run(method, [content])[0]) - array(result)).max() <= 1


def test_inst_is_s2prest_without_edges_and_style_latent() -> None:
    settings = dataclasses.asdict(QUICK)
    plain = dict(content_condition=0, edge_condition=0, style_condition=1, edge_noise=0, style_latent=0, edges="none")
    assert np.array_equal(
        array(run(S2PreST(**{**settings, **plain}), [CONTENT])[0]),
        array(run(InST(**{**settings, **plain}), [CONTENT])[0]),
    )


def test_the_cache_spares_what_a_sweep_repeats() -> None:
    cache, asked, needed = Cache(), 0.0, 0.0
    for strength in (0.2, 0.6, 0.4):
        method = dataclasses.replace(QUICK, steps=5, strength=strength)
        cached = method.stylize([CONTENT], [Region(fitted())], context(cache=cache))[0]
        alone = run(method, [CONTENT])[0]
        assert np.array_equal(array(cached), array(alone))
        needed += cached.scores["unet_evaluations"]
        asked += alone.scores["unet_evaluations"]
    # content, edges, style, their three conditions and that of the empty text, the inversion
    assert cache.misses == 8
    assert cache.hits == 16
    assert (asked, needed) == (3 * (1 + 3 + 2), 3 + 2 * (1 + 3 + 2))


def test_a_style_fitted_in_one_number_format_goes_with_the_other() -> None:
    half, whole = (load_backbone("house", "cpu", dtype).fingerprint for dtype in ("bf16", "fp32"))
    assert half == whole


def test_inst_has_no_edges_to_show() -> None:
    assert run(InST(steps=2, strength=0.5, size=64), [CONTENT])[0].layers == {}


@pytest.mark.parametrize("size", [(64, 64), (900, 150), (65, 97)])
def test_contents_of_any_shape(size: tuple[int, int]) -> None:
    gray = Picture.of(smooth_image(size[1], size[0], 3).convert("L").convert("RGB"), "gray")
    assert run(dataclasses.replace(QUICK, steps=2), [gray])[0].picture.size == size


def test_alpha_is_kept_and_edges_are_a_layer() -> None:
    image = smooth_image(72, 96)
    image.putalpha(77)
    result = run(QUICK, [Picture.of(image, "clear")])[0]
    assert result.alpha is not None and result.alpha.getextrema() == (77, 77)
    assert result.layers["canny"].size == (96, 72)


def test_the_edge_layer_is_named_by_its_source(tmp_path: Path) -> None:
    smooth_image(96, 72).save(tmp_path / "drawn.png")
    for edges, name in (("hed", "hed"), (str(tmp_path / "drawn.png"), "edges")):
        assert set(run(dataclasses.replace(QUICK, steps=2, edges=edges), [CONTENT])[0].layers) == {name}


@pytest.mark.parametrize(
    "idle",
    [
        {"edge_noise": 0.5},
        {"edge_threshold": 0.2},
        {"edge_schedule": "falling"},
        {"edges": "canny"},
        {"edge_condition": 0.5, "style_condition": 0.5},
    ],
)
def test_inst_refuses_edge_settings_that_do_nothing(idle: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match=f"inst goes without edges, so that {next(iter(idle))} would do nothing"):
        InST(**idle)
    assert InST(edges="canny", edge_noise=0.5, edge_threshold=0.2).edge_noise == 0.5


def test_what_a_run_cost_stands_in_the_manifest() -> None:
    made = run(dataclasses.replace(QUICK, steps=2), [CONTENT])[0]
    assert made.manifest["unet_evaluations"] == made.scores["unet_evaluations"] > 0 and made.manifest["seconds"] > 0


def test_what_a_fit_cost_counts_also_what_was_before_an_interruption(tmp_path: Path) -> None:
    class Stops(Silent):
        def note(self, **values: float) -> None:
            self.seen = getattr(self, "seen", 0) + 1
            if self.seen == 4:
                raise KeyboardInterrupt

    method, file = S2PreST(fit_steps=6, fit_check=2, fit_views=2, fit_size=64, fit_patience=9), tmp_path / "fit"
    whole = method.fit(STYLE, "style", RunContext(tiny_house())).card
    with pytest.raises(KeyboardInterrupt):
        method.fit(STYLE, "style", RunContext(tiny_house(), progress=Stops()), checkpoint=file)
    assert file.is_file()
    resumed = method.fit(STYLE, "style", RunContext(tiny_house()), checkpoint=file).card
    assert resumed["loss"] == whole["loss"] and resumed["unet_evaluations"] >= whole["unet_evaluations"]
    assert resumed["seconds"] > 0


def test_edge_sources_schedules_and_mixes_change_the_result() -> None:
    base = array(run(QUICK, [CONTENT])[0])
    for change in (
        {"edges": "none"},
        {"edge_schedule": "falling"},
        {"adain": 1.0},
        {"content_condition": 0.3, "edge_condition": 0.3, "style_condition": 0.4},
        {"negative_prompt": "a photo"},
        {"prompt": "a bridge in the style of *"},
    ):
        assert not np.array_equal(array(run(dataclasses.replace(QUICK, **change), [CONTENT])[0]), base), change
    assert [edge_weight(s, 0.25) for s in ("constant", "falling", "rising")] == [1.0, 0.75, 0.25]


def test_an_edge_picture_of_ones_own(tmp_path: Path) -> None:
    smooth_image(72, 96, 9).save(tmp_path / "edges.png")
    own = run(dataclasses.replace(QUICK, edges=str(tmp_path / "edges.png")), [CONTENT])[0]
    assert not np.array_equal(array(own), array(run(QUICK, [CONTENT])[0]))


def test_the_model_is_left_as_it_was() -> None:
    backbone = tiny_house()
    before = [value.clone() for part in backbone.networks() for value in part.state_dict().values()]
    run(QUICK, [CONTENT])
    QUICK.fit(STYLE, "again", context())
    after = [value for part in backbone.networks() for value in part.state_dict().values()]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"prompt": "a painting"}, "lacks the placeholder"),
        ({"content_condition": 0.9}, "sum to 1"),
        ({"edges": "pencil"}, "edges must be"),
        ({"edge_schedule": "sideways"}, "edge_schedule must be"),
        ({"sampler": "almost"}, "sampler must be ddim, "),
        ({"edge_noise": 1.1}, "edge_noise must be from 0 to 1"),
        ({"inversion": "guess"}, "inversion must be"),
        ({"strength": 1.5}, "from 0 to 1"),
        ({"vectors": 0}, "vectors must be from 1 to 32"),
        ({"size": 8}, "size must be 0 or from 64"),
        ({"style_condition": 0.4}, "sum to 1, not to 1.4"),
        ({"palette": -0.5}, r"palette must be from 0 to 1 \(or -1: not set\)"),
    ],
)
def test_bad_settings_are_one_sentence(change: dict[str, object], sentence: str) -> None:
    with pytest.raises(SettingError, match=sentence):
        dataclasses.replace(QUICK, **change)


def test_a_style_of_another_model_is_refused_by_name() -> None:
    other = dataclasses.replace(fitted(), fingerprint="0" * 16, model="sd15")
    with pytest.raises(StyleError, match="sd15, not on tiny"):
        run(QUICK, [CONTENT], other)
    wide = WordMap(torch.zeros(1, 768, 1380), torch.zeros(1, 768)).tensors()
    with pytest.raises(StyleError, match="words of width 768"):
        run(dataclasses.replace(QUICK, style_latent=0), [CONTENT], Style("x", "s2prest", "sd14", "", wide))


def test_the_affine_map_is_the_published_module_without_dropout(tmp_path: Path) -> None:
    torch.manual_seed(0)
    to_v, to_out, last = nn.Linear(6, 8, bias=False), nn.Linear(8, 6), nn.Linear(6, 6)
    embedding = torch.randn(3, 6)
    with torch.no_grad():
        expected = last(to_out(to_v(embedding)))
        word_map = WordMap(
            (last.weight @ to_out.weight @ to_v.weight)[None], (last.weight @ to_out.bias + last.bias)[None]
        )
        assert torch.allclose(word_map(embedding)[:, 0], expected, atol=1e-5)
    halves = WordMap.mixed([word_map, WordMap(-word_map.weight, -word_map.bias)], [0.5, 0.5])
    assert halves(embedding).abs().max() < 1e-6


def test_adain_gives_the_other_latents_statistics_and_nothing_at_share_zero() -> None:
    own, other = torch.randn(2, 4, 9, 9), 3 * torch.randn(2, 4, 9, 9) + 1
    moved = adain(own, other, 1.0)
    assert torch.allclose(moved.mean((2, 3)), other.mean((2, 3)), atol=1e-5)
    assert torch.allclose(moved.std((2, 3)), other.std((2, 3)), atol=1e-3)
    assert torch.equal(adain(own, other, 0.0), own)


def test_final_statistics_add_nothing_of_the_autoencoders_grid() -> None:
    backbone = tiny_house()
    noise = torch.randn(3, 2, backbone.latent_channels, 12, 12, generator=torch.Generator().manual_seed(0))
    z_content, latents, z_style = noise[0], noise[1] + 0.5, 2 * noise[2] + 1
    batch = ContentBatch(Noises(z_content, z_content), z_content, z_content, z_style[:1], *[z_content] * 3)
    grid = grid_channels(backbone, z_content[:1])
    assert 0 < grid.sum() < len(grid)

    def added(share: float) -> torch.Tensor:
        made = dataclasses.replace(QUICK, final_adain=share).final_latents(latents, batch, context())
        return made - z_content

    moved = near_moments(latents, z_style[:1], 1.0, backbone.flat_channels) - z_content
    assert torch.equal(added(0.0), latents - z_content)
    assert torch.allclose(added(1.0)[:, grid == 0], moved[:, grid == 0], atol=1e-5)
    coarse = [local_means(change)[:, grid == 1].abs().mean() for change in (added(1.0), moved)]
    assert coarse[0] < 0.4 * coarse[1]


def test_one_shared_noise_keeps_its_size_in_the_mix() -> None:
    noise = torch.randn(1, 4, 32, 32)
    zeros, none = torch.zeros_like(noise), torch.zeros(1, 0)
    mixed = noised_mix(ContentBatch(Noises(noise, noise), zeros, zeros, zeros, none, none, none), 0.36, 0.5)
    assert torch.allclose(mixed, 0.8 * noise, atol=1e-6)


def test_timesteps_cover_every_band() -> None:
    times = spread_timesteps(10, 1000, torch.Generator().manual_seed(0))
    assert sorted((times // 100).tolist()) == list(range(10))


def test_a_plateau_is_no_gain_over_the_last_checks() -> None:
    assert not plateaued([3, 2, 1], 0.01, 4)
    assert not plateaued([10, 9, 8, 7, 6, 5, 4], 0.01, 3)
    assert plateaued([10, 5, 5, 5, 5, 5], 0.01, 3)


def test_a_fit_starts_from_the_models_own_word_and_does_not_end_above_it() -> None:
    backbone = tiny_house()
    seen = backbone.encode_image(image_to_pixels(STYLE.image))
    own = backbone.word_of_embedding(seen)
    for spread in (0.0, 0.5, 1.0):
        start = warm_start(dataclasses.replace(QUICK, fit_spread=spread), seen, backbone)
        assert torch.allclose(start(seen), own, atol=1e-5)
    curve = fitted().card["loss"]
    assert min(loss for _, loss in curve) <= curve[0][1]


def test_an_interrupted_fit_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    checkpoint = tmp_path / "fits" / "style.safetensors"
    with pytest.raises(KeyboardInterrupt):
        QUICK.fit(STYLE, "style", context(progress=Impatient()), checkpoint=checkpoint)
    assert checkpoint.is_file()
    resumed = QUICK.fit(STYLE, "style", context(), checkpoint=checkpoint)
    assert [step for step, _ in resumed.card["loss"]] == [0, 2, 4]
    assert not checkpoint.exists()
    assert resumed.card["loss"][:2] == fitted().card["loss"][:2]


@pytest.mark.parametrize("rate", [0.05, 500.0])
def test_a_resumed_fit_is_the_uninterrupted_one(tmp_path: Path, rate: float) -> None:
    """Also where no step betters the start: the best map is in the checkpoint."""
    method = dataclasses.replace(QUICK, fit_steps=6)
    object.__setattr__(method, "fit_rate", rate)  # 500 is out of range, and surely too far
    checkpoint = tmp_path / "style.safetensors"
    with pytest.raises(KeyboardInterrupt):
        method.fit(STYLE, "style", context(progress=Impatient()), checkpoint=checkpoint)
    resumed, whole = (method.fit(STYLE, "style", context(), checkpoint=path) for path in (checkpoint, None))
    assert resumed.card["loss"] == whole.card["loss"] and len(whole.card["loss"]) == 4
    assert resumed.tensors.keys() == whole.tensors.keys()
    assert all(torch.equal(resumed.tensors[name], tensor) for name, tensor in whole.tensors.items())


def test_a_style_mask_keeps_what_is_black_out_of_the_style() -> None:
    half = Image.new("L", (80, 80), 0)
    half.paste(255, (0, 0, 80, 50))
    mask = Picture.of(half.convert("RGB"), "mask")
    defaced = STYLE.image.copy()
    defaced.paste((255, 0, 0), (0, 50, 80, 80))
    kept, also = (QUICK.fit(Picture.of(image, "s"), "s", context(), mask=mask) for image in (STYLE.image, defaced))
    assert torch.equal(kept.tensors["embedding"], also.tensors["embedding"])
    assert torch.allclose(kept.tensors["word.bias"], also.tensors["word.bias"], atol=1e-6)
    with pytest.raises(StyleError, match="black everywhere"):
        black = Picture.of(Image.new("RGB", (80, 80)), "black")
        QUICK.fit(STYLE, "s", context(), mask=black)


def test_several_vectors_fill_consecutive_places() -> None:
    method = dataclasses.replace(QUICK, vectors=3)
    style = method.fit(STYLE, "three", context())
    assert style.tensors["word.bias"].shape == (3, 32)
    assert run(method, [CONTENT], style)[0].picture.size == CONTENT.size


def test_a_hostile_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "ran"

    class Hostile:
        def __reduce__(self):  # type: ignore[no-untyped-def]
            return Path.touch, (marker,)

    torch.save({"attention": Hostile()}, tmp_path / "embeddings.pt")
    with pytest.raises(StyleError, match="could run code"):
        read_published_embeddings(tmp_path / "embeddings.pt")
    assert not marker.exists()
    torch.save({"x": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(StyleError, match="no InST inversion module"):
        read_published_embeddings(tmp_path / "other.pt")
    (tmp_path / "text.pt").write_text("no pickle")
    with pytest.raises(StyleError, match="damaged"):
        read_published_embeddings(tmp_path / "text.pt")


def test_plain_diffusers_loads_an_exported_word(tmp_path: Path) -> None:
    from transformers import CLIPTokenizer

    backbone = tiny_house()
    path = tmp_path / "word.safetensors"
    words = WordMap.of(fitted().tensors)(fitted().tensors["embedding"])
    save_textual_inversion(words[0], "<dusk>", path)
    from diffusers import StableDiffusionPipeline

    backbone.pipeline.save_pretrained(tmp_path / "model")
    pipeline = StableDiffusionPipeline.from_pretrained(tmp_path / "model", safety_checker=None, image_encoder=None)
    pipeline.load_textual_inversion(str(path))
    assert isinstance(pipeline.tokenizer, CLIPTokenizer)
    token = pipeline.tokenizer.convert_tokens_to_ids("<dusk>")
    embedding = pipeline.text_encoder.get_input_embeddings().weight[token]
    assert torch.allclose(embedding, words[0, 0], atol=1e-6)
    ids = pipeline.tokenizer("<dusk>", padding="max_length", return_tensors="pt").input_ids
    with torch.no_grad():
        states = pipeline.text_encoder(ids).last_hidden_state
    assert torch.allclose(states[:, :2], backbone.encode_prompt(["*"], words).states[:, :2], atol=1e-4)


def test_edges_are_dark_on_white() -> None:
    square = torch.full((1, 3, 64, 64), -1.0)
    square[:, :, 16:48, 16:48] = 1.0
    for edges in (canny_edges(square), canny_edges(square, 0.1, 0.2), hed_edges(square)):
        assert edges.shape == square.shape and edges.min() >= -1 and edges.max() <= 1
        assert edges[..., 14:18, 24:40].min() < 0 and edges[..., 2:6, 2:6].mean() > 0.5
    assert canny_edges(smooth_pixels(seed=0) * 0).mean() > 0.99


def test_the_studio_fits_once_for_all_strengths(tmp_path: Path) -> None:
    studio = tiny_studio(tmp_path / "styles")
    STYLE.image.save(tmp_path / "style.png")
    settings = {k: v for k, v in dataclasses.asdict(QUICK).items() if k != "strength"}
    results = [
        studio.stylize(CONTENT, tmp_path / "style.png", 0, "s2prest", **{**settings, "strength": s}) for s in (0.3, 0.6)
    ]
    assert not np.array_equal(array(results[0]), array(results[1]))
    json.dumps(results[0].manifest)
    fits = [key for key in studio.cache._kept if isinstance(key, tuple) and key[0] == "s2prest"]
    assert len(fits) == 1


def test_a_model_without_words_for_pictures_is_refused() -> None:
    pixels = SimpleNamespace(name="pixels")
    for refused in (
        lambda: QUICK.check_backbone(pixels),
        lambda: QUICK.fit(STYLE, "style", RunContext(pixels)),
    ):
        with pytest.raises(ModelError, match="pixels has no text encoder, which --method s2prest needs"):
            refused()


def test_the_originals_settings_and_what_they_need() -> None:
    for ours, original in ((S2PreST(), S2PreSTOriginal()), (InST(), InSTOriginal())):
        assert {**dataclasses.asdict(ours), "noise_file": ""} == dataclasses.asdict(original)
        assert original.name == f"{ours.name}-original" and original.style_method == ours.style_method
        assert original.working_size((900, 150), tiny_house()) == (512, 512)
        with pytest.raises(ModelError, match="needs CLIP's image encoder, which tiny does not use"):
            run(original, [CONTENT])


def test_unset_settings_are_the_papers_or_what_the_model_recommends() -> None:
    plain = LatentBackbone(tiny_house().pipeline, "plain", torch.device("cpu"), torch.float32)
    recommending = LatentBackbone(
        tiny_house().pipeline,
        "recommending",
        torch.device("cpu"),
        torch.float32,
        recommended_settings={"inversion": "ddim", "prompt": "a * day"},
    )
    assert [S2PreST().resolved(model).prompt for model in (plain, recommending)] == ["*", "a * day"]
    assert S2PreST(prompt="my *").resolved(recommending).prompt == "my *"
    assert [S2PreST().resolved(model).inversion for model in (plain, recommending)] == ["stochastic", "ddim"]
    published = S2PreSTOriginal().resolved(recommending)
    assert S2PreST().resolved(plain).guidance_scale == published.guidance_scale == 10.0
    assert (published.inversion, published.prompt) == ("stochastic", "*")
    assert isinstance(InST().resolved(plain), InST)
    wrong = LatentBackbone(
        tiny_house().pipeline, "wrong", torch.device("cpu"), torch.float32, recommended_settings={"inversion": "guess"}
    )
    with pytest.raises(SettingError, match="inversion must be"):
        S2PreST().resolved(wrong)


def test_what_a_model_recommends_for_one_method_is_for_that_one() -> None:
    advice = {"strength": 0.3, "s2prest.strength": 0.7, "s2prest.adain": 1.0, "inst.palette": 1.0, "inst.colours": 1.0}
    advice["inst.final_adain"] = 1.0
    ours, plain = S2PreST().with_advice(advice), InST().with_advice(advice)
    assert (ours.strength, ours.adain, ours.palette, ours.colours) == (0.7, 1.0, 0.0, "")
    # With a strength below 0.5 less is recommended.
    assert (plain.strength, plain.adain, plain.palette, plain.final_adain, plain.colours) == (0.3, 0.0, 0.6, 0.6, 0.6)
    assert (plain.style_condition, plain.edge_noise) == (1.0, 0.0)
    still = InST(strength=0.0).with_advice(advice)
    assert (still.palette, still.colours) == (0.0, "made")
    assert InST(strength=0.2, palette=1.0, colours="style").with_advice(advice).palette == 1.0


def test_conditions_are_taken_together() -> None:
    advice = {"content_condition": 0.1, "edge_condition": 0.1, "style_condition": 0.8}
    advised, own = (
        S2PreST(**set_).with_advice(advice) for set_ in ({}, {"content_condition": 0.3, "edge_condition": 0.7})
    )
    assert (advised.content_condition, advised.edge_condition, advised.style_condition) == (0.1, 0.1, 0.8)
    assert (own.content_condition, own.edge_condition, own.style_condition) == (0.3, 0.7, 0.0)


@pytest.mark.parametrize("method", [S2PreST, InST])
def test_the_paper_preset_leaves_nothing_to_the_model(method: type[S2PreST]) -> None:
    advice = json.loads((Path(house.__file__).parent / "weights" / RECOMMENDED_FILE).read_text())
    preset = method(**method.presets["paper"])
    assert preset.with_advice(advice) == preset.with_advice({})
    published = dataclasses.replace(method().with_advice({}), colours="made")
    assert preset.with_advice(advice) == published
    assert method().with_advice(advice) != published


def test_the_palette_moves_the_contents_colours_before_it_is_encoded() -> None:
    orange = Picture.of(Image.new("RGB", (80, 80), (240, 120, 20)), "orange")
    style = dataclasses.replace(fitted(), tensors={**fitted().tensors, "picture.00": picture_tensor(orange.image)})
    still = dataclasses.replace(QUICK, strength=0.0)
    plain, moved = (array(run(dataclasses.replace(still, palette=p), [CONTENT], style)[0]) for p in (0.0, 1.0))
    wanted = np.array([240, 120, 20])
    assert np.abs(moved.mean((0, 1)) - wanted).sum() < 0.5 * np.abs(plain.mean((0, 1)) - wanted).sum()
    without = dataclasses.replace(style, tensors={k: v for k, v in style.tensors.items() if k != "picture.00"})
    with pytest.raises(StyleError, match="imported without its picture, which palette needs"):
        run(dataclasses.replace(still, style_latent=0.0, palette=1.0), [CONTENT], without)


def test_one_content_keeps_its_own_colours_for_each_style() -> None:
    cache, method = Cache(), dataclasses.replace(QUICK, steps=2, palette=1.0)
    flat = Picture.of(Image.new("RGB", (80, 80), (10, 20, 90)), "flat")
    other = dataclasses.replace(fitted(), tensors={**fitted().tensors, "picture.00": picture_tensor(flat.image)})
    for style in (fitted(), other):
        cached = method.stylize([CONTENT], [Region(style)], context(cache=cache))[0]
        assert np.array_equal(array(cached), array(run(method, [CONTENT], style)[0]))


def test_the_last_latents_take_the_styles_statistics_but_noise_is_not_made_of_nothing() -> None:
    own, other = torch.randn(2, 4, 9, 9), 2 * torch.randn(1, 4, 9, 9) + 1
    moved = near_moments(own, other, 1.0, range(4))
    assert torch.allclose(moved, adain(own, other.expand_as(own), 1.0), atol=1e-5)
    flat = near_moments(0.1 * own, other, 1.0, range(4))
    assert torch.allclose(flat.std((2, 3)), MOST_GAIN * 0.1 * own.std((2, 3)), atol=1e-2)
    assert torch.equal(near_moments(own, other, 0.0, range(4)), own)
    detail = near_moments(own, other, 1.0, (0, 2))
    assert torch.allclose(detail[:, [0, 2]], moved[:, [0, 2]])
    assert torch.allclose(detail.mean((2, 3))[:, [1, 3]], own.mean((2, 3))[:, [1, 3]], atol=1e-5)  # no grid is laid
    assert torch.allclose(detail.std((2, 3)), moved.std((2, 3)), atol=1e-5)
    made = [array(run(dataclasses.replace(QUICK, final_adain=share), [CONTENT])[0]) for share in (0.0, 1.0)]
    assert not np.array_equal(*made)
