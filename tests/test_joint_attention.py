"""StyleID on transformers: which tokens of which attentions it changes, and that nothing stays changed."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from tests.conftest import smooth_image
from tests.tiny_flow import SD35, save_tiny_flux, save_tiny_sd3, tiny_t5
from velatura.cache import Cache
from velatura.diffusion import source_features
from velatura.diffusion.attention_control import Change, at_temperature, changed, recorded
from velatura.diffusion.guidance import conditional
from velatura.diffusion.inversion import ddim_denoise, invert
from velatura.diffusion.joint_attention import JointAttention, joint_attentions
from velatura.errors import SettingError
from velatura.methods.base import Stylization
from velatura.methods.context import RunContext
from velatura.methods.styleid import StyleID, injected_layers
from velatura.models.backbone import HasTransformer, denoising_network
from velatura.models.flow import FlowBackbone
from velatura.models.loading.load import load_backbone
from velatura.picture import Picture, image_to_pixels, pixels_to_image
from velatura.regions import Region, parse_query
from velatura.style import Style

QUICK = StyleID(steps=5, size=64)
GRID = (8, 10)  # cells of the content: 20 image tokens
CONTENT = Picture.of(smooth_image(64, 80, 0), "content")
OTHER = Picture.of(smooth_image(96, 64, 1), "style")


@pytest.fixture(scope="module", params=["flux", "sd3", "sd35"])
def backbone(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> FlowBackbone:
    folder: Path = tmp_path_factory.mktemp(request.param)
    if request.param == "flux":
        save_tiny_flux(folder)
    else:
        save_tiny_sd3(folder, tiny_t5(), **(SD35 if request.param == "sd35" else {}))
    loaded = load_backbone(str(folder), "cpu", "fp32")
    assert isinstance(loaded, FlowBackbone)
    return loaded


def style(backbone: FlowBackbone, picture: Picture = OTHER) -> Style:
    return QUICK.fit(picture, picture.name, RunContext(backbone))


def run(backbone: FlowBackbone, method: StyleID, *regions: Region) -> Stylization:
    return method.stylize([CONTENT], regions or [Region(style(backbone))], RunContext(backbone))[0]


def array(made: Stylization | Image.Image) -> np.ndarray:
    image = made.picture if isinstance(made, Stylization) else made
    return np.asarray(image.convert("RGB")).astype(int)


def noisy(seed: int = 0) -> Tensor:
    return torch.randn((1, 4, *GRID), generator=torch.Generator().manual_seed(seed))


def test_it_has_a_transformer_whose_attentions_are_found_in_their_order(backbone: FlowBackbone) -> None:
    assert isinstance(backbone, HasTransformer) and denoising_network(backbone) is backbone.transformer
    blocks = joint_attentions(backbone, GRID)
    names = [[layer.name for layer in block] for block in blocks]
    kind = type(backbone.transformer).__name__
    if kind == "FluxTransformer2DModel":
        assert names == [
            ["transformer_blocks.0.attn"],
            ["single_transformer_blocks.0.attn"],
            ["single_transformer_blocks.1.attn"],
        ]
        assert [layer.name for layer in injected_layers(backbone, GRID)] == [names[1][0], names[2][0]]
    else:
        dual = ["transformer_blocks.0.attn2"] if backbone.transformer.config.dual_attention_layers else []
        assert names == [["transformer_blocks.0.attn", *dual], ["transformer_blocks.1.attn"]]
    assert {layer.tokens for block in blocks for layer in block} == {20}


@torch.no_grad()
def test_what_is_recorded_and_put_back_changes_nothing(backbone: FlowBackbone) -> None:
    layers = [layer for block in joint_attentions(backbone, GRID) for layer in block]
    modules = [module for layer in layers for module in (layer.queries, layer.keys, layer.values)]
    predict = conditional(backbone, backbone.unconditional())
    with recorded(backbone.transformer, modules) as recording:
        own = predict(noisy(), 500).noise

    def put_back(layer: JointAttention, module: str) -> Change:
        image = layer.image_part(module, recording[module])
        assert 20 in image.shape[1:3]
        return layer.changing_image(module, lambda _: image)

    changes = {m: put_back(layer, m) for layer in layers for m in (layer.queries, layer.keys, layer.values)}
    with changed(backbone.transformer, changes):
        assert torch.equal(predict(noisy(), 500).noise, own)
    zeros = {m: layer.changing_image(m, torch.zeros_like) for layer in layers for m in (layer.keys,)}
    with changed(backbone.transformer, zeros):
        assert not torch.allclose(predict(noisy(), 500).noise, own, atol=1e-4)
    assert torch.equal(predict(noisy(), 500).noise, own)


@torch.no_grad()
def test_the_texts_queries_keys_and_values_are_left_alone(backbone: FlowBackbone) -> None:
    layer = injected_layers(backbone, GRID)[0]
    modules = (layer.queries, layer.keys, layer.values)
    predict = conditional(backbone, backbone.unconditional())
    with recorded(backbone.transformer, modules) as before:
        predict(noisy(), 500)
    generator = torch.Generator().manual_seed(1)
    sources = {module: torch.randn(before[module].shape, generator=generator) for module in modules}
    changes = QUICK.injection([layer], sources, sources)
    with changed(backbone.transformer, changes), recorded(backbone.transformer, modules) as after:
        predict(noisy(), 500)
    for module in modules:
        own, source, now = (layer.image_part(module, each[module]) for each in (before, sources, after))
        expected = 1.5 * torch.lerp(own, source, 0.75) if module == layer.queries else source
        assert torch.allclose(now, expected, atol=1e-6)
        whole = after[module].clone()
        layer.image_part(module, whole).copy_(own)  # what is left is the text
        assert torch.equal(whole, before[module])


@torch.no_grad()
def test_at_temperature_0_every_image_token_attends_alike(backbone: FlowBackbone) -> None:
    layer = joint_attentions(backbone, GRID)[-1][-1]
    outputs: list[Tensor] = []

    def keep(_module: Any, _inputs: Any, output: Any) -> None:
        outputs.append((output[0] if isinstance(output, tuple) else output)[:, -20:])

    hook = backbone.transformer.get_submodule(layer.name).register_forward_hook(keep)
    with changed(backbone.transformer, {layer.queries: layer.changing_image(layer.queries, at_temperature(0.0))}):
        backbone.predict(noisy(), 500, backbone.unconditional())
    hook.remove()
    backbone.predict(noisy(), 500, backbone.unconditional())
    assert len(outputs) == 1 and torch.allclose(outputs[0], outputs[0][:, :1].expand_as(outputs[0]), atol=1e-5)


@torch.no_grad()
def test_the_content_as_its_own_style_is_its_reconstruction(backbone: FlowBackbone) -> None:
    predict = conditional(backbone, backbone.unconditional())
    levels = backbone.schedule.ddim_levels(5)
    noisiest = invert(predict, backbone.encode(image_to_pixels(CONTENT.image)), levels, 7).noisiest
    expected = array(pixels_to_image(backbone.decode(ddim_denoise(predict, noisiest, levels))))
    method = dataclasses.replace(QUICK, gamma=1.0, temperature=1.0, corrections=7)
    assert np.abs(array(run(backbone, method, Region(style(backbone, CONTENT)))) - expected).max() <= 1
    assert np.abs(array(run(backbone, method)) - expected).max() > 3


def test_the_transformer_is_left_bit_identical(backbone: FlowBackbone) -> None:
    network = backbone.transformer
    before = {key: value.clone() for key, value in network.state_dict().items()}
    run(backbone, QUICK)
    after = network.state_dict()
    assert list(before) == list(after) and all(torch.equal(before[key], after[key]) for key in before)
    assert not any(module._forward_hooks for module in network.modules())


@pytest.mark.parametrize("change", [{"temperature": 3.0}, {"gamma": 0.0}, {"adain": 0.0}, {"strength": 0.6}])
def test_each_setting_acts(backbone: FlowBackbone, change: dict[str, float]) -> None:
    assert not np.array_equal(array(run(backbone, dataclasses.replace(QUICK, **change))), array(run(backbone, QUICK)))


def test_a_region_leaves_the_rest_the_contents_bytes(backbone: FlowBackbone) -> None:
    right = parse_query("polygon:40,0;80,0;80,64;40,64")
    made, content = array(run(backbone, QUICK, Region(style(backbone), right))), array(CONTENT.image)
    assert np.array_equal(made[:, :36], content[:, :36]) and not np.array_equal(made[:, 46:], content[:, 46:])


def test_what_is_not_kept_in_memory_is_made_again(backbone: FlowBackbone, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = run(backbone, QUICK)
    monkeypatch.setattr(source_features, "MOST_KEPT", 0)
    made = run(backbone, QUICK)
    assert np.array_equal(array(kept), array(made))
    assert (kept.scores["unet_evaluations"], made.scores["unet_evaluations"]) == (15, 25)
    context = RunContext(backbone, cache=Cache())
    again = [QUICK.stylize([CONTENT], [Region(style(backbone))], context)[0] for _ in "ab"]
    assert np.array_equal(array(again[0]), array(again[1]))


def test_the_full_size_is_refused_in_one_sentence(backbone: FlowBackbone) -> None:
    with pytest.raises(SettingError, match=r"^The method styleid paints at the photo's full size on UNets only: leave"):
        run(backbone, dataclasses.replace(QUICK, resolution="full"))
