"""Several styles with weights: every method mixes in closed form, or says which methods can."""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import smooth_image
from tests.tiny_house import tiny_house
from velatura.app.studio import Studio, check_mixes, configured
from velatura.errors import SettingError, StyleError
from velatura.losses import Targets
from velatura.losses.base import LossInput
from velatura.losses.clip_targets import clip_targets_of_text, mixed_clip_targets
from velatura.losses.wasserstein import ColourWasserstein, FeatureWasserstein, Sliced, unit_directions
from velatura.methods.base import Method
from velatura.methods.context import RunContext
from velatura.methods.guided import Guided
from velatura.methods.guided.mixing import GuidedMix
from velatura.methods.s2prest import S2PreST
from velatura.methods.s2prest.style import S2PreSTStyle, picture_word
from velatura.methods.s2prest.word_map import WordMap
from velatura.models.features.vgg import perceptual_trunk
from velatura.picture import Picture, image_to_pixels
from velatura.registry import methods_with
from velatura.reproductions.s2prest import S2PreSTOriginal
from velatura.style import Style

GUIDED = Guided(steps=4, strength=0.5, size=64)
S2PREST = S2PreST(steps=4, strength=0.5, size=64, inversion="ddim", fit_steps=2, fit_batch=2, fit_views=2, fit_size=64)
CONTENT = Picture.of(smooth_image(64, 64), "content")
PICTURES = [Picture.of(smooth_image(64, 64, 1), "first"), Picture.of(smooth_image(80, 64, 5), "second")]
WORDS = Style("a sketch", "guided", "", "", {}, {"text": "a sketch"})


def context() -> RunContext:
    return RunContext(tiny_house())


@lru_cache(maxsize=4)
def fits(method: type[Method]) -> tuple[Style, Style]:
    settings = GUIDED if method is Guided else S2PREST
    first, second = (settings.fit(picture, picture.name, context()) for picture in PICTURES)
    return first, second


def mixed(method: Method, first: float, second: float) -> Style:
    styles = fits(Guided if isinstance(method, Guided) else S2PreST)
    return method.mix(list(zip(styles, (first, second), strict=True)))


def picture(method: Method, style: Style) -> np.ndarray:
    from velatura.regions import Region

    return np.asarray(method.stylize([CONTENT], [Region(style)], context())[0].picture).astype(int)


@pytest.mark.parametrize("method", [GUIDED, S2PREST])
def test_a_mix_lies_between_and_its_ends_are_the_styles(method: Method) -> None:
    first, second = fits(type(method))
    assert method.mix([(first, 2.0)]) is first and method.mix([(first, 1.0), (second, 0.0)]) is first
    ends = [picture(method, first), picture(method, second)]
    half = picture(method, mixed(method, 1.0, 1.0))
    assert not any(np.array_equal(half, end) for end in ends)
    apart = np.abs(ends[0] - ends[1]).mean()
    assert all(np.abs(half - end).mean() < apart for end in ends)
    assert np.abs(picture(method, method.mix([(first, 0.5), (first, 0.5)])) - ends[0]).max() <= 1


def test_the_word_of_a_mix_is_the_sum_of_the_words_of_its_own_pictures() -> None:
    """sum_i w_i v_i(e_i); the mean map at the mean embedding is another word."""
    styles, shares = fits(S2PreST), (0.75, 0.25)
    mix = mixed(S2PREST, 3.0, 1.0)
    maps = [WordMap.of(style.tensors) for style in styles]
    embeddings = [style.tensors["embedding"] for style in styles]
    word = sum(w * v(e) for w, v, e in zip(shares, maps, embeddings, strict=True))
    assert torch.allclose(S2PreSTStyle.of(mix).own_word(), word, atol=1e-5)
    assert torch.allclose(picture_word(mix), word[0], atol=1e-5)
    elsewhere = torch.randn(2, embeddings[0].shape[1])
    common = sum(w * v(elsewhere) for w, v in zip(shares, maps, strict=True))
    assert torch.allclose(S2PreSTStyle.of(mix).word_map(elsewhere), common, atol=1e-4)
    assert [share for _, share in S2PreSTStyle.of(mix).pictures] == list(shares)


def test_the_style_condition_is_that_of_the_mixed_word() -> None:
    """Maps far apart, where the mean map at the mean embedding would be far off."""
    first, second = fits(S2PreST)
    weight, bias = (first.tensors[name] for name in ("word.weight", "word.bias"))
    far = dataclasses.replace(second, tensors={**second.tensors, "word.weight": -weight, "word.bias": bias + 1})
    mix = S2PREST.mix([(first, 1.0), (far, 1.0)])
    seen = [style.tensors["embedding"] for style in (first, far)]
    word = (WordMap.of(first.tensors)(seen[0]) + WordMap.of(far.tensors)(seen[1])) / 2
    expected = tiny_house().encode_prompt([S2PREST.resolved(tiny_house()).prompt], word)
    method = dataclasses.replace(S2PREST, content_condition=0.0, edge_condition=0.0, style_condition=1.0, prompt="")
    method = method.resolved(tiny_house())
    from velatura.methods.base import WorkingPicture
    from velatura.regions import Placement, Region

    working = WorkingPicture(CONTENT, (64, 64), Placement.of([Region(mix)], CONTENT))
    view = S2PreSTStyle.of(mix)
    conditions = method.conditions(method.prepare([working], view, context()), view, context())
    assert torch.allclose(conditions.style.states, expected.states, atol=1e-5)


def test_the_original_embeds_every_picture_of_a_mix(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each map acts on its own picture's embedding by the published cast."""
    embedded: list[torch.Tensor] = []

    def encode(self: S2PreSTOriginal, pixels: torch.Tensor, run: RunContext) -> torch.Tensor:
        embedded.append(torch.full((1, 1380), pixels.mean().item()))
        return embedded[-1]

    monkeypatch.setattr(S2PreSTOriginal, "encode_image", encode)
    original, view = S2PreSTOriginal(), S2PreSTStyle.of(mixed(S2PREST, 3.0, 1.0))
    word = view.own_word([original.style_embedding(part, context()) for part in view.parts])
    maps = [WordMap.of(style.tensors) for style in fits(S2PreST)]
    assert len(embedded) == 2 and not torch.equal(*embedded)
    assert torch.allclose(word, 0.75 * maps[0](embedded[0]) + 0.25 * maps[1](embedded[1]), atol=1e-5)


def test_statistics_and_words_of_a_mix_are_weighted_sums() -> None:
    mix = GuidedMix.of(mixed(GUIDED, 3.0, 1.0))
    (first, a), (second, b) = mix.parts
    assert (a, b) == (0.75, 0.25) and mix.statistics is not None
    for layer, gram in mix.statistics.grams.items():
        assert torch.allclose(gram, a * first.statistics.grams[layer] + b * second.statistics.grams[layer])
    factor = mix.statistics.colour_factor
    covariances = [part.statistics.colour_factor @ part.statistics.colour_factor.T for part in (first, second)]
    assert torch.allclose(factor @ factor.T, a * covariances[0] + b * covariances[1], atol=1e-6)
    assert torch.allclose(
        mix.statistics.colour_mean, a * first.statistics.colour_mean + b * second.statistics.colour_mean
    )
    expected = tiny_house().encode_prompt(["a *"], a * first.word + b * second.word)
    assert torch.allclose(mix.conditioning("a *", tiny_house()).states, expected.states, atol=1e-5)


def test_the_barycentre_averages_equal_quantiles() -> None:
    directions = unit_directions(16, 3, torch.Generator().manual_seed(0))
    cloud, shift = torch.randn(3, 300), torch.tensor([1.0, -2.0, 0.5])
    moved = Sliced.barycentre([(cloud, 0.75), (cloud + shift[:, None], 0.25)], directions)
    expected = Sliced.of(cloud + 0.25 * shift[:, None], directions)
    assert torch.allclose(moved.along, expected.along, atol=1e-5)
    unequal = Sliced.barycentre([(cloud, 0.5), (cloud.repeat(1, 2), 0.5)], directions)
    assert unequal.along.shape == (16, 600) and unequal.distance(cloud).item() < 0.02


@pytest.mark.parametrize("loss", [ColourWasserstein, FeatureWasserstein])
def test_a_mix_of_a_picture_with_itself_has_its_targets(loss: type) -> None:
    trunk = perceptual_trunk(torch.device("cpu"), torch.float32)
    pixels = [image_to_pixels(picture.image) for picture in PICTURES]

    def target(*pictures: tuple[torch.Tensor, float]) -> torch.Tensor:
        made = loss(Targets(LossInput(pixels[0]), None, pictures, trunk)).style
        return made[0].along if isinstance(made, list) else next(iter(made.values()))[0][0].along

    alone, twice = target((pixels[0], 1.0)), target((pixels[0], 0.5), (pixels[0], 0.5))
    assert alone.shape == twice.shape
    assert (alone - twice).abs().mean() < 0.1 * alone.std()  # the directions' draws differ, not their law


def test_clip_targets_mix_linearly() -> None:
    torch.manual_seed(0)
    targets = [clip_targets_of_text(torch.randn(1, 8), torch.randn(1, 8)) for _ in range(2)]
    both = mixed_clip_targets([(targets[0], 0.7), (targets[1], 0.3)])
    for kind in ("whole", "patch"):
        for name in ("embedding", "direction"):
            first, second, made = (getattr(getattr(each, kind), name) for each in (*targets, both))
            assert torch.allclose(made, 0.7 * first + 0.3 * second)


def test_a_picture_and_words_mix_through_the_prompt() -> None:
    first = fits(Guided)[0]
    mix = GUIDED.mix([(WORDS, 1.0), (first, 3.0)])
    backbone = tiny_house()
    parts = [backbone.encode_prompt(["a sketch now"]), backbone.encode_prompt(["* now"], first.tensors["word"])]
    states = 0.25 * parts[0].states + 0.75 * parts[1].states
    assert torch.allclose(GuidedMix.of(mix).conditioning("* now", backbone).states, states, atol=1e-5)
    assert not np.array_equal(picture(GUIDED, mix), picture(GUIDED, first))


def test_a_mix_is_a_style_like_any_other(tmp_path: Path) -> None:
    """It has a file, an identity by its weights, and can be mixed again."""
    mix = mixed(GUIDED, 3.0, 1.0)
    mix.save(tmp_path / "mix.safetensors")
    loaded = Style.load(tmp_path / "mix.safetensors")
    assert loaded.identity == mix.identity != mixed(GUIDED, 1.0, 1.0).identity
    assert np.array_equal(picture(GUIDED, loaded), picture(GUIDED, mix))
    again = GuidedMix.of(GUIDED.mix([(loaded, 1.0), (fits(Guided)[1], 1.0)]))
    assert [share for _, share in again.parts] == [0.375, 0.125, 0.5]


@pytest.mark.parametrize("method", [GUIDED, S2PREST])
@pytest.mark.parametrize("weights", [(-1.0, 2.0), (0.0, 0.0), (float("nan"), 1.0), (float("inf"), 1.0)])
def test_weights_that_make_no_mix_are_refused(method: Method, weights: tuple[float, float]) -> None:
    with pytest.raises(SettingError, match="must be finite and not negative"):
        mixed(method, *weights)


def test_styles_of_other_shapes_methods_or_models_do_not_mix() -> None:
    first, second = fits(S2PreST)
    tensors = {"word.weight": torch.zeros(2, 32, 1380), "word.bias": torch.zeros(2, 32)}
    with pytest.raises(StyleError, match="different numbers of vectors"):
        S2PREST.mix([(first, 1.0), (dataclasses.replace(second, tensors=tensors), 1.0)])
    with pytest.raises(StyleError, match="fitted for"):
        GUIDED.mix([(fits(Guided)[0], 1.0), (second, 1.0)])
    with pytest.raises(StyleError, match="fitted on the model"):
        S2PREST.mix([(first, 1.0), (dataclasses.replace(second, fingerprint="0" * 16, model="sd15"), 1.0)])


def test_methods_that_cannot_mix_name_those_that_can(tmp_path: Path) -> None:
    assert methods_with("mixes") == ["guided", "s2prest", "inst", "fast", "s2prest-original", "inst-original"]
    studio = Studio(library_folder=tmp_path)  # no model is loaded: it would be the house
    for name in ("diffstyler", "styleid", "zecon-original", "diffstyler-original"):
        with pytest.raises(SettingError, match=f"method {name} cannot mix styles: .* --method guided or s2prest"):
            studio.stylize(CONTENT, {"dusk": 0.7, "dawn": 0.3}, method=name)
        check_mixes(configured(name, {}), 1)
    assert studio._backbone is None
