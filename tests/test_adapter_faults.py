"""Adapters that are damaged, of the wrong kind or cannot act, and what is told of those that were given in Python."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel, MultiControlNetModel
from diffusers.callbacks import IPAdapterScaleCutoffCallback
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.command_line import run
from tests.conftest import smooth_image
from tests.test_few_steps import guided_of
from tests.test_ip_adapter import CONTENT, QUICK, STYLE, guided, loaded, made_by, pipeline_of, stylized
from tests.tiny_adapters import (
    ip_adapter_tensors,
    kohya_lora,
    save_controlnet,
    save_image_encoder,
    save_ip_adapter,
    save_sd15,
)
from tests.tiny_flow import load_tiny_flow, save_tiny_sd3
from tests.tiny_house import tiny_house
from velatura import Studio
from velatura.errors import ModelError, SettingError, StyleError, VelaturaError
from velatura.methods.diffstyler import DiffStyler
from velatura.models.adapters.ip_adapter_files import read_ip_adapter
from velatura.models.backbone import Adaptable
from velatura.models.latent import LatentBackbone
from velatura.models.loading.load import load_backbone
from velatura.style import Style


@pytest.fixture(scope="module")
def sd15(tmp_path_factory: pytest.TempPathFactory) -> LatentBackbone:
    return loaded(save_sd15(tmp_path_factory.mktemp("sd15")))


def on_pipeline(backbone: LatentBackbone, folder: Path, plus: bool = False) -> Any:
    """A pipeline with an IP-Adapter that diffusers has loaded."""
    pipeline, file = pipeline_of(backbone), save_ip_adapter(folder, backbone.unet, plus=plus)
    pipeline.load_ip_adapter(str(folder), subfolder="", weight_name=file.name)
    return pipeline


def test_plus_on_a_pipeline_acts_and_stays(sd15: LatentBackbone, tmp_path: Path) -> None:
    pipeline = on_pipeline(sd15, tmp_path, plus=True)
    processors, projection = dict(pipeline.unet.attn_processors), pipeline.unet.encoder_hid_proj
    made = made_by(pipeline)
    assert pipeline.unet.attn_processors.keys() == processors.keys()
    assert all(pipeline.unet.attn_processors[name] is each for name, each in processors.items())
    assert pipeline.unet.encoder_hid_proj is projection
    assert pipeline.unet.config.encoder_hid_dim_type == "ip_image_proj"
    pipeline.unload_ip_adapter()
    assert not np.array_equal(made, made_by(pipeline))


def test_a_callback_can_change_the_scale(sd15: LatentBackbone, tmp_path: Path) -> None:
    pipeline = on_pipeline(sd15, tmp_path)
    whole = made_by(pipeline, strength=1.0)
    cut = made_by(pipeline, strength=1.0, callback_on_step_end=IPAdapterScaleCutoffCallback(None, 0))
    assert not np.array_equal(whole, cut)
    scales = {each.scale[0] for each in pipeline.unet.attn_processors.values() if hasattr(each, "to_k_ip")}
    assert scales == {0.0}  # as diffusers leaves them
    pipeline.set_ip_adapter_scale(1.0)
    late = made_by(pipeline, strength=1.0, callback_on_step_end=IPAdapterScaleCutoffCallback(None, 1))
    assert not np.array_equal(late, cut) and not np.array_equal(late, whole)


def test_the_manifest_tells_of_all_weights_and_of_what_was_given(sd15: LatentBackbone, tmp_path: Path) -> None:
    pipeline = on_pipeline(sd15, tmp_path / "one")
    folder = save_controlnet(tmp_path / "control", sd15.unet)
    network = ControlNetModel.from_pretrained(folder)

    def manifest(**more: Any) -> Any:
        steps: dict[str, Any] = {"num_inference_steps": 1, "strength": 1.0, "size": 64}
        return pipeline(image=CONTENT.image, style=STYLE.image, **steps, **more).manifests[0]

    first = manifest(controlnet=[network], control_image=[STYLE.image])
    settings = first["settings"]
    assert settings["controlnet"] == str(folder)
    assert settings["ip_adapter"] == settings["control"] == "given in Python"
    processor = next(each for each in pipeline.unet.attn_processors.values() if hasattr(each, "to_k_ip"))
    processor.to_v_ip[0].weight.data[-1, -1] *= 1.5
    network.controlnet_mid_block.weight.data[-1, -1] *= 1.5
    second = manifest(controlnet=network)
    assert second["adapters"]["ip_adapter"] != first["adapters"]["ip_adapter"]
    assert second["adapters"]["controlnet"] != first["adapters"]["controlnet"]
    assert second["settings"]["control"] == "canny"


def test_weights_that_are_not_finite_are_refused(sd15: LatentBackbone, tmp_path: Path) -> None:
    nan = float("nan")
    tensors = ip_adapter_tensors(sd15.unet)
    name = next(each for each in tensors if "to_k_ip" in each)
    save_image_encoder(tmp_path / "image_encoder")
    save_file({**tensors, name: tensors[name] * nan}, tmp_path / "ip-adapter.safetensors")
    lora = kohya_lora(sd15.unet)
    lora = {each: value * nan if "up" in each else value for each, value in lora.items()}
    save_file(lora, tmp_path / "lora.safetensors")
    weights = save_controlnet(tmp_path / "control", sd15.unet) / "diffusion_pytorch_model.safetensors"
    state = load_file(weights)
    save_file({**state, "conv_in.bias": state["conv_in.bias"] / 0}, weights, {"format": "pt"})
    for method in (
        guided(ip_adapter=str(tmp_path)),
        guided(controlnet=str(tmp_path / "control")),
        guided_of("lcm", step_lora=str(tmp_path / "lora.safetensors")),
    ):
        with pytest.raises(ModelError, match="holds numbers that are not finite"):
            stylized(method, sd15)


@pytest.mark.parametrize(
    "asked", [{"step_lora": "lora.safetensors"}, {"ip_adapter": "nowhere"}, {"controlnet": "nowhere"}]
)
def test_what_cannot_be_is_refused_before_a_fit(
    asked: dict[str, Any], sd15: LatentBackbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fit(*_: Any) -> Style:
        raise AssertionError("fitted")

    monkeypatch.setattr(DiffStyler, "fit", fit)
    studio = Studio(sd15.name)
    studio._backbone = sd15
    with pytest.raises(VelaturaError, match=r"few steps from noise|There is no"):
        studio.stylize(CONTENT.image, STYLE.image, method="diffstyler", **QUICK["diffstyler"], **asked)


def _of_a_unet(folder: Path, backbone: LatentBackbone) -> None:
    backbone.unet.save_pretrained(folder)


def _in_part(folder: Path, backbone: LatentBackbone) -> None:
    file = save_controlnet(folder, backbone.unet) / "diffusion_pytorch_model.safetensors"
    save_file(dict(list(load_file(file).items())[::2]), file, {"format": "pt"})


class Hostile:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("was-run"),))


def _pickled(folder: Path, backbone: LatentBackbone) -> None:
    (save_controlnet(folder, backbone.unet) / "diffusion_pytorch_model.safetensors").unlink()
    torch.save({"a": Hostile()}, folder / "diffusion_pytorch_model.bin")


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (_of_a_unet, "holds a UNet2DConditionModel, which is no ControlNet"),
        (_in_part, r"The ControlNet in .* is incomplete \(it lacks \d+ tensors\): get it again"),
        (_pickled, "it holds more than tensors, which could run code"),
    ],
)
def test_a_folder_of_no_controlnet_is_one_sentence(
    sd15: LatentBackbone, tmp_path: Path, make: Callable[[Path, LatentBackbone], None], sentence: str
) -> None:
    make(tmp_path / "control", sd15)
    with pytest.raises(ModelError, match=sentence) as told:
        stylized(guided(controlnet=str(tmp_path / "control")), sd15)
    assert "\n" not in str(told.value)


def test_what_is_no_controlnet_is_one_sentence(sd15: LatentBackbone, tmp_path: Path) -> None:
    pipeline = pipeline_of(sd15)
    network = ControlNetModel.from_pretrained(save_controlnet(tmp_path, sd15.unet))
    for given, kind in ((5, "int"), (pipeline.unet, "UNet2DCond"), (MultiControlNetModel([network]), "MultiControl")):
        with pytest.raises(ModelError, match=f"takes one ControlNetModel or the folder of one, and was given a {kind}"):
            made_by(pipeline, controlnet=given)
    with pytest.raises(SettingError, match="controlnet takes one for all pictures, not a list of 2"):
        made_by(pipeline, controlnet=[network, network])


Tensors = dict[str, Tensor]


def _without_one(tensors: Tensors) -> Tensors:
    return {name: value for name, value in tensors.items() if name != "ip_adapter.1.to_v_ip.weight"}


def _of_another_shape(tensors: Tensors) -> Tensors:
    return {**tensors, "ip_adapter.1.to_k_ip.weight": torch.zeros(7, 9)}


@pytest.mark.parametrize("damage", [_without_one, _of_another_shape])
def test_a_damaged_ip_adapter_is_called_damaged(
    sd15: LatentBackbone, tmp_path: Path, damage: Callable[[Tensors], Tensors]
) -> None:
    save_image_encoder(tmp_path / "image_encoder")
    save_file(damage(ip_adapter_tensors(sd15.unet)), tmp_path / "ip-adapter.safetensors")
    with pytest.raises(ModelError, match=r"is damaged \(the keys and values of 1 of \d+ attentions are missing or of"):
        stylized(guided(ip_adapter=str(tmp_path)), sd15)


def test_sentences_say_what_is_wrong(sd15: LatentBackbone, tmp_path: Path) -> None:
    file = tmp_path / "lora.safetensors"
    save_file(kohya_lora(sd15.unet), file)
    with pytest.raises(ModelError, match="is no IP-Adapter"):  # although it lies beside no image encoder
        stylized(guided(ip_adapter=str(file)), sd15)
    with pytest.raises(StyleError, match="import a LoRA with 'velatura styles import FILE --lora PROMPT'"):
        Style.load(file)
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(ModelError, match=r"lora.safetensors is damaged \(.*\): get it again\.$"):
        read_ip_adapter(file)
    with pytest.raises(StyleError, match=r"get it again\.$"):
        stylized(guided_of("lcm", step_lora=str(file)), sd15)
    save_image_encoder(tmp_path / "image_encoder")
    (tmp_path / "image_encoder" / "model.safetensors").unlink()
    torch.save({"a": Hostile()}, tmp_path / "image_encoder" / "pytorch_model.bin")
    save_file(ip_adapter_tensors(sd15.unet), tmp_path / "ip-adapter.safetensors")
    with pytest.raises(ModelError, match=r"image encoder in .* it holds more than tensors, which could run code"):
        stylized(guided(ip_adapter=str(tmp_path / "ip-adapter.safetensors")), sd15)
    house = tiny_house()
    assert isinstance(house, Adaptable)
    save_image_encoder(tmp_path / "image_encoder")
    tensors = {name: value[:, :7] if "to_" in name else value for name, value in ip_adapter_tensors(sd15.unet).items()}
    save_file({name: value.contiguous() for name, value in tensors.items()}, tmp_path / "ip-adapter.safetensors")
    with pytest.raises(ModelError, match=r"made for another family of models: .* and none for house"):
        stylized(guided(ip_adapter=str(tmp_path / "ip-adapter.safetensors")), house)


def test_a_transformer_is_told_from_other_files(tmp_path: Path) -> None:
    backbone = load_tiny_flow("flux", tmp_path / "flux")
    file = tmp_path / "flux" / "transformer" / "diffusion_pytorch_model.safetensors"
    with pytest.raises(ModelError, match="is a FLUX transformer in one file, which cannot be loaded"):
        load_backbone(str(file))
    studio = Studio(backbone.name)
    studio._backbone = backbone
    with pytest.raises(SettingError, match=r"feature_share acts on a UNet's convolutions, and .* leave it out"):
        studio.stylize(CONTENT.image, STYLE.image, method="diffstyler", feature_share=0.5, **QUICK["diffstyler"])
    file.unlink()
    torch.save({"a": Hostile()}, file.with_suffix(".bin"))
    with pytest.raises(ModelError, match="it holds more than tensors, which could run code"):
        load_backbone(str(tmp_path / "flux"))


def test_a_pipeline_of_another_class_is_named(tmp_path: Path) -> None:
    save_tiny_sd3(tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text())
    (tmp_path / "model_index.json").write_text(json.dumps({**index, "_class_name": "ChromaPipeline"}))
    with pytest.raises(ModelError, match="a ChromaPipeline, has no text_encoder_2"):
        load_backbone(str(tmp_path))


def test_a_control_picture_of_several_photos_is_refused_on_the_command_line(
    sd15: LatentBackbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("photo.png", "other.png", "painting.png", "depth.png"):
        smooth_image(64, 64).save(name)
    call = ["stylize", "photo.png", "other.png", "-s", "painting.png", "--model", sd15.name, "--out", "made"]
    assert run(monkeypatch, *call, "--set", "controlnet=nowhere", "--set", "control=depth.png") == 2
    assert "A control picture belongs to one photo" in capsys.readouterr().err
    Path("out.png").touch()
    call = ["stylize", "photo.png", "-s", "painting.png", "--model", sd15.name, "--out", "out.png"]
    assert run(monkeypatch, *call, "--set", "controlnet=nowhere") == 2
    told = capsys.readouterr().err
    assert "There is no ControlNet" in told and "exists" not in told
