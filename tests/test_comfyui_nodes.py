"""Each node of the pack by itself: what it gives, what it gives again, and what it says of bad input."""

from __future__ import annotations

import json
import logging
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from tests.comfyui_pack import Bar, Cancelled, half_mask, image
from velatura import Studio
from velatura.app.home import home
from velatura.errors import VelaturaError

pytest_plugins = ("tests.comfyui_fixtures",)
SIZE = "size=64"
OPTIONS = ("--", "velatura fit")  # what a node never says


class Nodes:
    """The pack's nodes with one small model."""

    def __init__(self, pack: ModuleType, model: str) -> None:
        self.classes = pack.NODE_CLASS_MAPPINGS
        (self.studio,) = self.classes["VelaturaLoadModel"]().load(model, "cpu", "fp32")

    def run(self, kind: str, **given: Any) -> Any:
        """A node's first output; its model, seed and steps are small ones where nothing else is said."""
        node = self.classes[f"Velatura{kind}"]
        usual = {"model": self.studio, "method": "guided", "seed": 3, "steps": 2, "strength": 0.5, "strengths": "0.5"}
        wanted = node.INPUT_TYPES()["required"]
        return getattr(node(), node.FUNCTION)(**{k: v for k, v in usual.items() if k in wanted} | given)[0]

    def fit(self, seed: int = 2, **given: Any) -> Any:
        return self.run("FitStyle", image=image(seed), **{"settings": SIZE, **given})

    def region(self, style: Any, mask: torch.Tensor, regions: Any = ()) -> Any:
        return self.run("Region", style=style, mask=mask, weight=1.0, start=0.0, end=1.0, regions=regions)

    def stylise(self, **given: Any) -> torch.Tensor:
        given.setdefault("image", image(1, 96))
        made: torch.Tensor = self.run("Stylise", **{"settings": SIZE, **given})
        return made


@pytest.fixture
def nodes(pack: ModuleType, cancelling: Any, model: str) -> Nodes:
    return Nodes(pack, model)


def refused(call: Any, **given: Any) -> str:
    """What a node says, in its own words."""
    with pytest.raises(VelaturaError) as caught:
        call(**given)
    said = str(caught.value)
    assert not any(option in said for option in OPTIONS) and said.endswith((".", "?")) and "\n" not in said
    return said


def in_8_bits(picture: torch.Tensor) -> torch.Tensor:
    return (picture * 255).round() / 255


def test_a_batch_stays_a_batch_and_the_seed_decides(nodes: Nodes) -> None:
    style = nodes.fit(name="dusk")
    kept = nodes.run("LoadStyle", name="dusk")
    assert kept.identity == style.identity
    made, manifest = nodes.classes["VelaturaStylise"]().stylise(
        model=nodes.studio,
        image=image(1, 64, 2),
        method="guided",
        steps=2,
        seed=3,
        strength=0.5,
        style=kept,
        settings=SIZE,
    )
    assert made.shape == (2, 64, 64, 3) and [each["seed"] for each in json.loads(manifest)] == [3, 3]
    assert torch.equal(made, nodes.stylise(image=image(1, 64, 2), method="as fitted", style=style))
    swept = nodes.run("Sweep", image=image(1, 64, 2), style=style, strengths="0.5,1", settings=SIZE)
    assert len(swept) == 4 and torch.equal(swept[:2], made)


def test_cancelling(nodes: Nodes, cancelling: Any) -> None:
    style = nodes.fit()
    cancelling.asked = True
    with pytest.raises(Cancelled):
        nodes.stylise(style=style)


def test_a_kept_fit_is_given_again_and_another_is_refused_before_it(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    fits: list[str] = []
    fit = Studio.fit

    def counted(studio: Studio, pictures: Any, name: str, *rest: Any) -> Any:
        fits.append(name)
        return fit(studio, pictures, name, *rest)

    monkeypatch.setattr(Studio, "fit", counted)
    first = nodes.fit(name="dusk")
    assert nodes.fit(name="dusk").identity == first.identity and fits == ["dusk"]
    for other in ({"seed": 4}, {"settings": "size=96"}, {"mask": half_mask()}, {"method": "styleid"}):
        assert "another style 'dusk'" in refused(nodes.fit, name="dusk", **other)
    assert "cannot be a style's name" in refused(nodes.fit, name="../dusk")
    assert fits == ["dusk"]
    replaced = nodes.fit(4, name="dusk", replace=True)
    assert replaced.identity != first.identity and fits == ["dusk", "dusk"]
    assert nodes.run("LoadStyle", name="dusk").identity == replaced.identity
    assert nodes.fit(4, name="dusk", replace=True).identity == replaced.identity and len(fits) == 2


def test_a_loaded_style_is_another_one_when_its_file_is(nodes: Nodes) -> None:
    asked = nodes.classes["VelaturaLoadStyle"].IS_CHANGED
    assert asked(name="dusk", model=None) == "" == asked(name="../dusk") == asked(name=None)
    nodes.fit(name="dusk")
    before = asked(name="dusk", model=None)
    assert before and asked(name="dusk", model=None) == before
    nodes.fit(4, name="dusk", replace=True)
    assert asked(name="dusk", model=None) not in ("", before)
    assert (home() / "styles" / "dusk.safetensors").is_file()


def test_each_picture_of_a_batch_has_its_mask(nodes: Nodes) -> None:
    style, pictures = nodes.fit(), torch.cat([image(1, 96), image(5, 96)])
    left, right = half_mask(), 1 - half_mask()
    made = nodes.stylise(image=pictures, regions=nodes.region(style, torch.cat([left, right])))
    photo = in_8_bits(pictures)
    assert torch.allclose(made[0, :, 60:], photo[0, :, 60:]) and torch.allclose(made[1, :, :36], photo[1, :, :36])
    assert not torch.allclose(made[0, :, :36], photo[0, :, :36])
    assert not torch.allclose(made[1, :, 60:], photo[1, :, 60:])
    alone = nodes.stylise(image=pictures[1:], regions=nodes.region(style, right))
    assert torch.equal(made[1:], alone)
    for masks, count in ((2, 1), (3, 2)):
        regions = nodes.region(style, left.expand(masks, -1, -1))
        assert f"{masks} masks for a batch of {count}" in refused(
            nodes.stylise, image=pictures[:count], regions=regions
        )


def test_a_style_of_several_pictures_has_their_masks(nodes: Nodes) -> None:
    pictures, left = torch.cat([image(2, 96), image(4, 96)]), half_mask()

    def fitted(mask: torch.Tensor | None) -> str:
        identity: str = nodes.run("FitStyle", image=pictures, mask=mask, settings=SIZE).identity
        return identity

    whole, one, each = fitted(None), fitted(left), fitted(torch.cat([left, 1 - left]))
    assert len({whole, one, each}) == 3 and fitted(left.expand(2, -1, -1)) == one
    assert "3 masks for a batch of 2" in refused(fitted, mask=left.expand(3, -1, -1))
    assert "black everywhere" in refused(fitted, mask=torch.cat([left, 0 * left]))
    assert "2 masks for a batch of 1" in refused(nodes.fit, mask=left.expand(2, -1, -1))


@pytest.mark.parametrize(
    ("kind", "line", "widget"),
    [
        ("Stylise", "strength=0.9", "strength"),
        ("Stylise", " steps = 9", "steps"),
        ("Stylise", "seed=9", "seed"),
        ("Sweep", "strength=0.9", "strengths"),
    ],
)
def test_a_line_that_repeats_a_widget_is_refused(nodes: Nodes, kind: str, line: str, widget: str) -> None:
    said = refused(nodes.run, kind=kind, image=image(1), style=nodes.fit(), settings=f"{SIZE}\n{line}")
    assert f"the widget {widget} " in said and line.strip() in said


def test_losses_and_presets_act(nodes: Nodes) -> None:
    style = nodes.fit()
    plain = nodes.stylise(style=style)
    lossy = nodes.stylise(style=style, losses="texture=40\nstructure=0@0-0.5")
    poster = nodes.stylise(style=style, preset="poster")
    assert not torch.equal(plain, lossy) and not torch.equal(plain, poster)
    assert "'hue'" in refused(nodes.stylise, style=style, losses="hue=3")
    assert refused(nodes.stylise, style=style, losses="texture=much") == (
        "texture in losses needs a number, not 'much'."
    )
    assert "Unknown preset 'mosaic'" in refused(nodes.stylise, style=style, preset="mosaic")


def test_styles_in_words_and_mixes(nodes: Nodes) -> None:
    words = nodes.run("StyleInWords", text=" a sketch with crayon ")
    assert words.card["text"] == "a sketch with crayon" and words.method == "guided"
    assert "has no words" in refused(nodes.run, kind="StyleInWords", text=" ")
    one, other = nodes.fit(name="dusk"), nodes.fit(4, name="dawn")
    mixed = nodes.run("MixStyles", style1=one, weight1=1.0, style2=other, weight2=3.0)
    assert mixed.name == "0.25 dusk + 0.75 dawn"
    assert not torch.equal(nodes.stylise(style=mixed), nodes.stylise(style=one))
    fast = nodes.fit(method="styleid", name="plain")
    said = refused(nodes.run, kind="MixStyles", style1=one, weight1=1.0, style2=fast, weight2=1.0)
    assert "'dusk' for guided and 'plain' for styleid" in said
    said = refused(nodes.run, kind="MixStyles", style1=fast, weight1=1.0, style2=fast, weight2=1.0)
    assert "cannot mix styles" in said


def test_messages_are_in_the_nodes_words(nodes: Nodes) -> None:
    style = nodes.fit()
    assert "Connect a style, or regions" in refused(nodes.stylise)
    assert "fit one with Fit Style" in refused(nodes.run, kind="LoadStyle", name="nothere")
    assert "use the method guided" in refused(nodes.stylise, style=style, method="styleid")
    said = refused(nodes.stylise, style=style, settings="hue=3")
    assert "has no setting 'hue'" in said and len(said) < 120
    assert "did you mean guidance_rms?" in refused(nodes.stylise, style=style, settings="guidance_rm=3")
    assert refused(nodes.stylise, style=style, settings="size=big").startswith("The setting size needs")
    assert "NAME=VALUE" in refused(nodes.stylise, style=style, settings="size")
    assert "strengths" in refused(nodes.run, kind="Sweep", image=image(1), style=style, strengths="0.5;1")
    assert "not 2" in refused(nodes.run, kind="Sweep", image=image(1), style=style, strengths="0.5,2")
    with pytest.raises(VelaturaError, match="There is no model"):
        nodes.classes["VelaturaLoadModel"]().load("./nowhere", "cpu", "fp32")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("leave it out with --loss texture=0, or use --preset zecon.", "texture=0 in losses, or use the preset zecon."),
        ("as --set prompt='a painting of <sss>'.", "as prompt=a painting of <sss> in settings."),
        ("use --model sd-1.5, or fit it again.", "use the model sd-1.5 in Load Model, or fit it again."),
        ("use --colours content, or leave --colours out.", "use colours=content in settings, or leave colours out."),
        ("has no losses: --loss is for guided", "has no losses: losses are for guided"),
        ("leave out --size full.", "leave out size=full in settings."),
        ("use another model, or --method guided.", "use another model, or the method guided."),
        ("give a --style-scale.", "give a style_scale."),
        ("a dash -- stays, and so does well-known", "a dash -- stays, and so does well-known"),
    ],
)
def test_options_become_widgets(pack: ModuleType, said: str, words: str) -> None:
    translate = sys.modules[f"{pack.__name__}.words"].in_nodes_words
    assert translate(said).endswith(words)


def test_styles_of_several_methods_are_told_apart(nodes: Nodes) -> None:
    graph = {"2": {"inputs": {"image": "wave.png"}}, "4": {"inputs": {"image": ["2", 0]}}}
    wave = nodes.fit(prompt=graph, unique_id="4")
    other = nodes.fit(method="styleid", prompt={"5": {"inputs": {"image": ["9", 0]}}}, unique_id="5")
    assert (wave.name, other.name) == ("wave", "style 5")
    regions = nodes.region(other, 1 - half_mask(), nodes.region(wave, half_mask()))
    for method in ("as fitted", "guided", "styleid"):
        said = refused(nodes.stylise, method=method, regions=regions)
        assert "'wave' for guided and 'style 5' for styleid" in said and "fit those of one run for one method" in said


def test_empty_regions_are_said_and_not_computed(
    nodes: Nodes, cancelling: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    style = nodes.fit(name="dusk")
    empty = nodes.region(style, torch.zeros(1, 64, 64))
    Bar.made.clear()
    with caplog.at_level(logging.WARNING, "velatura"):
        made = nodes.stylise(regions=empty)
    assert torch.allclose(made, in_8_bits(image(1, 96)), atol=1e-6) and not Bar.made
    ((node, text),) = cancelling.texts
    assert node == "7" and "style 'dusk'" in text and "black everywhere" in text and "the photo stays" in text
    assert text in caplog.text
    made = nodes.stylise(regions=nodes.region(style, half_mask(), empty))
    assert Bar.made and not torch.allclose(made, in_8_bits(image(1, 96)), atol=1e-6)
    assert len(cancelling.texts) == 2 and "the photo stays" not in cancelling.texts[1][1]
