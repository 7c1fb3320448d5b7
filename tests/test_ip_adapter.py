"""IP-Adapter on tiny random weights in the published layouts: what it changes, what it leaves, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from tests.command_line import run
from tests.conftest import smooth_image
from tests.tiny_adapters import (
    ip_adapter_tensors,
    nested,
    save_image_encoder,
    save_ip_adapter,
    save_sd15,
    save_sdxl,
    weights_of,
)
from tests.tiny_flow import save_tiny_sd3
from tests.tiny_house import tiny_house, tiny_studio
from velatura import Studio
from velatura.errors import ModelError, SettingError, VelaturaError
from velatura.methods.adapters.joining import joined
from velatura.methods.adapters.settings import ADAPTER_FILES, ADAPTERS, AdapterSettings
from velatura.methods.base import Method, Stylization
from velatura.methods.context import RunContext
from velatura.methods.guided import Guided
from velatura.models.adapters.blocks import block_scales
from velatura.models.adapters.ip_adapter import make_ip_adapter
from velatura.models.adapters.ip_adapter_files import read_ip_adapter
from velatura.models.adapters.picture_encoder import PictureEncoder
from velatura.models.latent import LatentBackbone
from velatura.models.loading.load import load_backbone
from velatura.picture import Picture
from velatura.pipelines import pipeline_path
from velatura.regions import Region, parse_query
from velatura.registry import method_class
from velatura.service.requests import StyleShare, StylizeRequest, method_of

CONTENT, STYLE = Picture.of(smooth_image(64, 80), "content"), Picture.of(smooth_image(64, 64, 1), "style")
QUICK: dict[str, dict[str, Any]] = {
    "guided": {"steps": 3, "strength": 0.7, "size": 64, "weights": {"gram": 1.0}},
    "s2prest": {"steps": 3, "strength": 0.7, "size": 64, "fit_steps": 1},
    "inst": {"steps": 3, "strength": 0.7, "size": 64, "fit_steps": 1},
    "diffstyler": {"steps": 2, "size": 64, "fit_steps": 1, "fit_size": 64, "rank": 2},
    "styleid": {"steps": 2, "size": 64},
}


@pytest.fixture(scope="module")
def sd15(tmp_path_factory: pytest.TempPathFactory) -> LatentBackbone:
    return loaded(save_sd15(tmp_path_factory.mktemp("sd15")))


@pytest.fixture(scope="module")
def sdxl(tmp_path_factory: pytest.TempPathFactory) -> LatentBackbone:
    return loaded(save_sdxl(tmp_path_factory.mktemp("sdxl")))


def loaded(folder: Path) -> LatentBackbone:
    backbone = load_backbone(str(folder), "cpu", "fp32")
    assert type(backbone) is LatentBackbone
    return backbone


def adapter_for(backbone: LatentBackbone, folder: Path, **how: Any) -> str:
    return str(save_ip_adapter(folder, backbone.unet, **how))


def stylized(method: Method, backbone: LatentBackbone, context: RunContext[Any] | None = None) -> Stylization:
    context = context or RunContext(backbone)
    style = method.fit(STYLE, "style", context)
    return method.stylize([CONTENT], [Region(style)], context)[0]


def pixels(made: Stylization) -> Any:
    return np.asarray(made.picture)


def guided(**settings: Any) -> Guided:
    return Guided(**QUICK["guided"], **settings)


@pytest.mark.parametrize("name", sorted(QUICK))
def test_every_latent_method_takes_it_and_a_scale_of_0_changes_no_bit(name: str, tmp_path: Path) -> None:
    backbone = tiny_house()
    before = dict(weights_of(backbone.unet))
    method, context = method_class(name)(**QUICK[name]), RunContext(backbone)
    style = method.fit(STYLE, "style", context)
    adapter = adapter_for(backbone, tmp_path)

    def made(**settings: Any) -> Any:
        return pixels(replace(method, **settings).stylize([CONTENT], [Region(style)], context)[0])

    plain = made()
    assert not np.array_equal(plain, made(ip_adapter=adapter))
    assert np.array_equal(plain, made(ip_adapter=adapter, ip_adapter_scale=0.0))
    assert np.array_equal(plain, made())  # with the inversions of all runs kept in one cache
    after = backbone.unet.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[key], after[key]) for key in before)


@pytest.mark.parametrize("plus", [False, True])
def test_it_is_what_diffusers_computes(sd15: LatentBackbone, tmp_path: Path, plus: bool) -> None:
    file = save_ip_adapter(tmp_path, sd15.unet, plus=plus)
    stock = DiffusionPipeline.from_pretrained(sd15.name, safety_checker=None)
    stock.load_ip_adapter(str(tmp_path), subfolder="", weight_name=file.name)
    stock.set_ip_adapter_scale(0.7)
    (embeds,) = stock.prepare_ip_adapter_image_embeds([STYLE.image], None, "cpu", 1, False)
    latents, states = torch.randn(1, 4, 8, 8), sd15.encode_prompt(["a painting"])
    with torch.no_grad():
        theirs = stock.unet(
            latents, 500, encoder_hidden_states=states.states, added_cond_kwargs={"image_embeds": [embeds]}
        ).sample
        style = guided().fit(STYLE, "style", RunContext(sd15))
        method = guided(ip_adapter=str(file), ip_adapter_scale=0.7)
        with joined(method, [Region(style)], RunContext(sd15)):
            ours = sd15.predict(latents, 500, states).noise
        plain = sd15.predict(latents, 500, states).noise
    assert torch.allclose(ours, theirs, atol=2e-5) and not torch.allclose(ours, plain, atol=1e-2)


def test_the_unet_is_left_as_it_was(sd15: LatentBackbone, tmp_path: Path) -> None:
    unet = sd15.unet
    before = (
        dict(weights_of(unet)),
        dict(unet.attn_processors),
        dict(unet.config),
        set(unet._modules),
        vars(unet).keys(),
    )
    stylized(guided(ip_adapter=adapter_for(sd15, tmp_path)), sd15)
    weights, processors, config, modules, attributes = before
    assert all(torch.equal(value, unet.state_dict()[name]) for name, value in weights.items())
    assert all(unet.attn_processors[name] is processor for name, processor in processors.items())
    assert dict(unet.config) == config and set(unet._modules) == modules and vars(unet).keys() == attributes
    assert unet.encoder_hid_proj is None and unet.config.encoder_hid_dim_type is None


def test_the_unet_is_left_as_it_was_after_an_error(sd15: LatentBackbone, tmp_path: Path) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    processors = dict(sd15.unet.attn_processors)
    method, context = guided(ip_adapter=adapter_for(sd15, tmp_path)), RunContext(sd15)
    style = method.fit(STYLE, "style", context)
    hook = sd15.unet.conv_out.register_forward_hook(fail)
    with pytest.raises(ZeroDivisionError):
        method.stylize([CONTENT], [Region(style)], context)
    hook.remove()
    assert all(sd15.unet.attn_processors[name] is processor for name, processor in processors.items())
    assert sd15._adapters == ()


def test_inversions_are_the_base_models_own(sd15: LatentBackbone, tmp_path: Path) -> None:
    """An adapter on both ways would cancel: what an inversion keeps is the same with it and without."""
    context = RunContext(sd15)
    stylized(guided(), sd15, context)
    misses = context.cache.misses
    kept = {key: value for key, value in context.cache._kept.items() if key[0] == "inversion"}
    fresh = RunContext(sd15)
    stylized(guided(ip_adapter=adapter_for(sd15, tmp_path)), sd15, fresh)
    again = {key: value for key, value in fresh.cache._kept.items() if key[0] == "inversion"}
    assert kept and kept.keys() == again.keys() and misses
    assert all(torch.equal(one, other) for key in kept for one, other in zip(kept[key], again[key], strict=True))


def test_the_picture_counts(sd15: LatentBackbone, tmp_path: Path) -> None:
    adapter = adapter_for(sd15, tmp_path)
    smooth_image(50, 70, 5).save(tmp_path / "other.png")
    own = stylized(guided(ip_adapter=adapter), sd15)
    other = stylized(guided(ip_adapter=adapter, ip_adapter_image=str(tmp_path / "other.png")), sd15)
    assert not np.array_equal(pixels(own), pixels(other))
    STYLE.image.save(tmp_path / "same.png")
    same = stylized(guided(ip_adapter=adapter, ip_adapter_image=str(tmp_path / "same.png")), sd15)
    assert np.array_equal(pixels(own), pixels(same))


def test_a_mix_of_styles_is_read_as_the_weighted_mean(sd15: LatentBackbone, tmp_path: Path) -> None:
    encoder = PictureEncoder.load(save_image_encoder(tmp_path / "image_encoder"), torch.device("cpu"))
    adapter = make_ip_adapter(read_ip_adapter(save_ip_adapter(tmp_path, sd15.unet)), sd15.unet, encoder)
    one, other = STYLE.image, CONTENT.image
    alone, both = adapter.tokens([(one, 1.0)]), adapter.tokens([(one, 0.3), (other, 0.7)])
    assert alone.shape == (1, 1, 4, 32) and not torch.allclose(alone, both)
    assert torch.allclose(alone, adapter.tokens([(one, 0.2), (one, 0.2)]), atol=1e-5)
    method, context = guided(ip_adapter=str(tmp_path)), RunContext(sd15)
    mixed = method.mix([(method.fit(STYLE, "a", context), 1.0), (method.fit(CONTENT, "b", context), 2.0)])
    assert method.stylize([CONTENT], [Region(mixed)], context)[0].picture.size == (80, 64)


# As InstantStyle's authors give them to diffusers' set_ip_adapter_scale.
OF_XL: dict[str, Any] = {
    "all": 0.5,
    "style": {"up": {"block_0": [0.0, 0.5, 0.0]}},
    "layout": {"down": {"block_2": [0.0, 0.5]}},
    "style+layout": {"down": {"block_2": [0.0, 0.5]}, "up": {"block_0": [0.0, 0.5, 0.0]}},
}
OF_SD15: dict[str, Any] = {
    "style": {"up": {"block_1": 0.5}},
    "style+layout": {"up": {"block_1": 0.5}, "down": {"block_2": 0.5}, "mid": 0.5},
}


def scales_of_diffusers(pipeline: Any, scale: Any) -> dict[str, float]:
    pipeline.set_ip_adapter_scale(scale)
    processors = pipeline.unet.attn_processors.items()
    return {name.removesuffix(".processor"): each.scale[0] for name, each in processors if hasattr(each, "scale")}


@pytest.mark.parametrize("family", ["xl", "sd15"])
def test_instant_styles_blocks(sd15: LatentBackbone, sdxl: LatentBackbone, tmp_path: Path, family: str) -> None:
    backbone, table = (sdxl, OF_XL) if family == "xl" else (sd15, OF_SD15)
    file = save_ip_adapter(tmp_path, backbone.unet)
    stock = DiffusionPipeline.from_pretrained(backbone.name, safety_checker=None)
    stock.load_ip_adapter(str(tmp_path), subfolder="", weight_name=file.name)
    for blocks, scale in table.items():
        theirs = scales_of_diffusers(stock, scale)
        assert block_scales(backbone.unet, theirs, 0.5, blocks) == theirs
        assert {0.5} <= set(theirs.values()) <= {0.0, 0.5}
    adapter = str(file)
    made = [pixels(stylized(guided(ip_adapter=adapter, ip_adapter_blocks=each), backbone)) for each in ("all", "style")]
    assert not np.array_equal(*made)


def test_blocks_that_a_unet_has_not_are_one_sentence(tmp_path: Path) -> None:
    backbone = tiny_house()
    with pytest.raises(ModelError, match="has not the blocks that ip_adapter_blocks=layout names: use all"):
        stylized(guided(ip_adapter=adapter_for(backbone, tmp_path), ip_adapter_blocks="layout"), backbone)


def test_a_bin_and_a_folder_are_read_alike(sd15: LatentBackbone, tmp_path: Path) -> None:
    safetensors, pickled = (
        adapter_for(sd15, tmp_path / kind, name=f"ip-adapter_sd15.{kind}") for kind in ("safetensors", "bin")
    )
    made = [stylized(guided(ip_adapter=place), sd15) for place in (safetensors, pickled, str(tmp_path / "bin"))]
    assert all(np.array_equal(pixels(made[0]), pixels(each)) for each in made[1:])


class Hostile:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("was-run"),))


def test_a_pickle_is_never_run(sd15: LatentBackbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_image_encoder(tmp_path / "image_encoder")
    torch.save({**nested(ip_adapter_tensors(sd15.unet)), "more": Hostile()}, tmp_path / "ip-adapter.bin")
    with pytest.raises(ModelError, match="holds more than tensors"):
        stylized(guided(ip_adapter="ip-adapter.bin"), sd15)
    assert not Path("was-run").exists()


Tensors = dict[str, Tensor]


def _of_a_face(tensors: Tensors, _folder: Path) -> Tensors:
    return {name.replace("image_proj.proj.", "image_proj.proj.0."): value for name, value in tensors.items()}


def _of_another_model(tensors: Tensors, _folder: Path) -> Tensors:
    return {name: value.repeat(1, 2) if "to_k" in name else value for name, value in tensors.items()}


def _with_another(tensors: Tensors, folder: Path) -> Tensors:
    save_file(tensors, folder / "ip-adapter-plus.safetensors")
    return tensors


def _without_encoder(tensors: Tensors, folder: Path) -> Tensors:
    (folder / "image_encoder" / "config.json").unlink()
    return tensors


def _with_other_encoder(tensors: Tensors, folder: Path) -> Tensors:
    save_image_encoder(folder / "image_encoder", 48)
    return tensors


def _with_damaged_encoder(tensors: Tensors, folder: Path) -> Tensors:
    (folder / "image_encoder" / "config.json").write_text("{")
    return tensors


BROKEN: dict[str, Callable[[Tensors, Path], Tensors]] = {
    "no adapter": lambda _tensors, _folder: {"weight": torch.zeros(2)},
    "face": _of_a_face,
    "other model": _of_another_model,
    "several": _with_another,
    "no encoder": _without_encoder,
    "other encoder": _with_other_encoder,
    "damaged encoder": _with_damaged_encoder,
}


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("no adapter", "lacks image_proj or ip_adapter"),
        ("face", "FaceID needs a face recogniser"),
        ("other model", "made for another family of models"),
        ("several", r"holds several IP-Adapters \(ip-adapter, ip-adapter-plus\): name the file"),
        ("no encoder", "There is no image encoder in .*ip_adapter_encoder"),
        ("other encoder", "takes image embeddings of 24 numbers, and its image encoder gives 48"),
        ("damaged encoder", "The image encoder in .* cannot be loaded"),
    ],
)
def test_what_does_not_fit_is_one_sentence(sd15: LatentBackbone, tmp_path: Path, kind: str, sentence: str) -> None:
    save_image_encoder(tmp_path / "image_encoder")
    save_file(BROKEN[kind](ip_adapter_tensors(sd15.unet), tmp_path), tmp_path / "ip-adapter.safetensors")
    with pytest.raises(ModelError, match=sentence) as caught:
        stylized(guided(ip_adapter=str(tmp_path)), sd15)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        ("nowhere.safetensors", "There is no IP-Adapter .*nowhere.safetensors: give its"),
        ("", "holds no ip-adapter….safetensors: name the file"),
        ("ip-adapter.txt", "is no IP-Adapter: give its .safetensors or .bin"),
        ("damaged.bin", "cannot be loaded"),
        ("damaged.safetensors", r"is damaged \(.*\): get it again"),
    ],
)
def test_what_is_not_there_is_one_sentence(sd15: LatentBackbone, tmp_path: Path, place: str, sentence: str) -> None:
    save_image_encoder(tmp_path / "image_encoder")
    for name in ("ip-adapter.txt", "damaged.bin", "damaged.safetensors"):
        (tmp_path / name).write_text("no")
    with pytest.raises(ModelError, match=sentence) as caught:
        stylized(guided(ip_adapter=str(tmp_path / place)), sd15)
    assert "\n" not in str(caught.value)


def test_what_does_not_go_together_is_one_sentence(sd15: LatentBackbone, tmp_path: Path) -> None:
    context = RunContext(sd15)
    method = guided(ip_adapter=adapter_for(sd15, tmp_path))
    one, other = method.fit(STYLE, "one", context), method.fit(CONTENT, "other", context)
    regions = [Region(one, parse_query("box:0,0,40,64")), Region(other, parse_query("box:40,0,80,64"))]
    with pytest.raises(SettingError, match="reads one style, and the regions have several"):
        method.stylize([CONTENT], regions, context)
    with pytest.raises(SettingError, match="ip_adapter_scale acts on the IP-Adapter whose file ip_adapter names"):
        guided(ip_adapter_scale=0.5).stylize([CONTENT], [Region(one)], context)
    with pytest.raises(VelaturaError, match="no picture for the IP-Adapter to read"):
        adapter = adapter_for(tiny_house(), tmp_path / "house")
        tiny_studio().stylize(CONTENT.image, "text:a sketch", ip_adapter=adapter, **QUICK["guided"])
    with pytest.raises(SettingError, match="ip_adapter_blocks must be all, style, layout or style"):
        guided(ip_adapter_blocks="mid")
    with pytest.raises(SettingError, match=r"is the published program, which has no ip_adapter"):
        replace(method_class("zecon-original")(), ip_adapter="x").check_shared("zecon-original")


def test_a_model_without_a_unet_says_so(tmp_path: Path) -> None:
    save_tiny_sd3(tmp_path)
    flow = load_backbone(str(tmp_path), "cpu", "fp32")
    method, context = guided(ip_adapter=str(tmp_path / "x.safetensors")), RunContext(flow)
    with pytest.raises(ModelError, match="takes no adapters, which need a latent model with a UNet"):
        method.stylize([CONTENT], [Region(method.fit(STYLE, "style", context))], context)


def test_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sd15: LatentBackbone, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    CONTENT.image.save("photo.png")
    STYLE.image.save("painting.png")
    save_ip_adapter(tmp_path / "models", sd15.unet)
    call = ["stylize", "photo.png", "-s", "painting.png", "--model", sd15.name, "--dtype", "fp32", "--steps", "2"]
    call += ["--set", "size=64", "--out", "out.png"]
    assert run(monkeypatch, *call, "--set", "ip_adapter=models", "--set", "ip_adapter_blocks=style") == 0
    assert Path("out.png").is_file()
    assert run(monkeypatch, "reproduce", "out.png", "--inputs", ".", "--out", "again.png") == 0
    assert np.array_equal(np.asarray(Image.open("out.png")), np.asarray(Image.open("again.png")))
    assert "is not the one that was used" not in "".join(capsys.readouterr())
    tensors = {name: value + 0.5 for name, value in ip_adapter_tensors(sd15.unet).items()}
    save_file(tensors, "models/ip-adapter_sd15.safetensors")
    assert run(monkeypatch, "reproduce", "out.png", "--inputs", ".", "--out", "changed.png") in (0, 1)
    assert "The ip_adapter is not the one that was used" in "".join(capsys.readouterr())
    assert run(monkeypatch, *call[:-1], "none.png", "--set", "ip_adapter=nowhere") == 2
    assert "There is no IP-Adapter nowhere" in capsys.readouterr().err and not Path("none.png").exists()


PIPELINE: dict[str, Any] = {"num_inference_steps": 3, "strength": 0.7, "size": 64, "weights": {"gram": 1.0}}


def pipeline_of(backbone: LatentBackbone, name: str = "guided") -> Any:
    pipeline = DiffusionPipeline.from_pretrained(
        backbone.name, custom_pipeline=pipeline_path(name), trust_remote_code=True, safety_checker=None
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def made_by(pipeline: Any, **settings: Any) -> Any:
    generator = torch.Generator().manual_seed(1)
    made = pipeline(image=CONTENT.image, style=STYLE.image, generator=generator, **{**PIPELINE, **settings})
    return np.asarray(made.images[0])


def test_what_diffusers_has_loaded_on_a_pipeline_acts_and_stays(sd15: LatentBackbone, tmp_path: Path) -> None:
    pipeline, file = pipeline_of(sd15), save_ip_adapter(tmp_path, sd15.unet)
    plain = made_by(pipeline)
    named = made_by(pipeline, ip_adapter=str(file), ip_adapter_scale=0.6, ip_adapter_blocks="style")
    pipeline.load_ip_adapter(str(tmp_path), subfolder="", weight_name=file.name)
    pipeline.set_ip_adapter_scale({"up": {"block_1": 0.6}})
    processors, projection = dict(pipeline.unet.attn_processors), pipeline.unet.encoder_hid_proj
    loaded = made_by(pipeline)
    assert np.abs(loaded.astype(int) - named).max() <= 1 and not np.array_equal(loaded, plain)
    assert all(pipeline.unet.attn_processors[name] is each for name, each in processors.items())
    assert pipeline.unet.encoder_hid_proj is projection
    assert pipeline.unet.config.encoder_hid_dim_type == "ip_image_proj"
    assert not np.array_equal(loaded, made_by(pipeline, ip_adapter_image=CONTENT.image))
    pipeline.set_ip_adapter_scale(0.0)
    assert np.array_equal(plain, made_by(pipeline))
    pipeline.unload_ip_adapter()
    assert np.array_equal(plain, made_by(pipeline))


def test_a_pipeline_takes_a_picture_for_the_adapter_that_is_named(sd15: LatentBackbone, tmp_path: Path) -> None:
    pipeline, file = pipeline_of(sd15), str(save_ip_adapter(tmp_path, sd15.unet))
    own = made_by(pipeline, ip_adapter=file)
    assert np.array_equal(own, made_by(pipeline, ip_adapter=file, ip_adapter_image=STYLE.image))
    assert not np.array_equal(own, made_by(pipeline, ip_adapter=file, ip_adapter_image=CONTENT.image))


def test_fits_are_the_base_models_own(sd15: LatentBackbone, tmp_path: Path) -> None:
    pipeline, file = pipeline_of(sd15, "diffstyler"), save_ip_adapter(tmp_path, sd15.unet)
    before = pipeline.fit_style(STYLE.image, "dusk", fit_steps=1, fit_size=64)
    pipeline.load_ip_adapter(str(tmp_path), subfolder="", weight_name=file.name)
    after = pipeline.fit_style(STYLE.image, "dusk", fit_steps=1, fit_size=64)
    assert all(torch.equal(value, after.tensors[name]) for name, value in before.tensors.items())


def test_what_a_pipeline_cannot_do_is_one_sentence(sd15: LatentBackbone, tmp_path: Path) -> None:
    pipeline, file = pipeline_of(sd15), save_ip_adapter(tmp_path, sd15.unet)
    with pytest.raises(SettingError, match="ip_adapter_image acts on the IP-Adapter whose file ip_adapter names"):
        made_by(pipeline, ip_adapter_image=STYLE.image)
    pipeline.load_ip_adapter(str(tmp_path), subfolder="", weight_name=file.name)
    with pytest.raises(SettingError, match="IP-Adapters are taken one at a time"):
        made_by(pipeline, ip_adapter=str(file))
    with pytest.raises(SettingError, match="ip_adapter_scale acts on the IP-Adapter whose file"):
        made_by(pipeline, ip_adapter_scale=0.5)
    with pytest.raises(ModelError, match="An IP-Adapter is loaded on this pipeline"):
        _ = Studio(pipeline).backbone
    pipeline.image_encoder = None
    with pytest.raises(SettingError, match="has no image encoder"):
        made_by(pipeline)


def test_the_server_opens_no_file_for_an_adapter() -> None:
    own = [name for name, hint in AdapterSettings.__annotations__.items() if hint == "str" and name in ADAPTERS]
    assert {*own, "control"} == {*ADAPTER_FILES, "control"} and len(own) == 6
    for name in own:
        request = StylizeRequest(content="0" * 64, styles=[StyleShare(style="dusk")], settings={name: "/etc/hosts"})
        with pytest.raises(SettingError, match=f"{name} must be .* no file of the server is read"):
            method_of(request)
