"""ADM: the published network's recorded outputs and gradients from original state dicts, and bad files."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from typer.testing import CliRunner

from tests.conftest import SHARED
from velatura.app.cli import app
from velatura.errors import ModelError
from velatura.models.adm.architecture import AdmShape, build_adm
from velatura.models.adm.backbone import PixelBackbone
from velatura.models.adm.checkpoint import adm_of_state, load_adm, save_adm, shape_of
from velatura.models.backbone import Conditioning
from velatura.models.loading.single_file import read_state_dict

GUIDED = SHARED / "parity" / "guided"
needs_recordings = pytest.mark.skipif(not GUIDED.is_dir(), reason=f"the recordings in {GUIDED} are not here")


@lru_cache(maxsize=1)
def recorded() -> dict[str, Tensor]:
    return load_file(GUIDED / "adm.safetensors")


def flags(name: str) -> AdmShape:
    return AdmShape.of_flags(json.loads((GUIDED / f"{name}.json").read_text())["flags"])


@lru_cache(maxsize=2)
def backbone(name: str) -> PixelBackbone:
    shape = flags(name)
    unet = adm_of_state(read_state_dict(GUIDED / f"{name}.pt"), shape)
    return PixelBackbone(unet, shape, name, torch.device("cpu"), torch.float32)


def predicted(name: str, case: str) -> tuple[Tensor, Tensor]:
    """Input, with a gradient wanted, and output of a recorded case."""
    model, values = backbone(name), recorded()
    x = values[f"{name}/{case}/x"].clone().requires_grad_()
    classes = values.get(f"{name}/{case}/y", torch.zeros(len(x))).tolist()
    return x, output(model, x, values[f"{name}/{case}/t"], model.encode_classes([int(c) for c in classes]))


def output(model: PixelBackbone, x: Tensor, timestep: int | Tensor, conditioning: Conditioning) -> Tensor:
    """The network's noise and variance logits, one after the other as it gives them."""
    prediction = model.predict(x, timestep, conditioning)
    assert prediction.variance is not None
    return torch.cat([prediction.noise, prediction.variance], dim=1)


@needs_recordings
@pytest.mark.parametrize("name", ["adm_a", "adm_c"])
@pytest.mark.parametrize("case", ["case0", "case1", "case2"])
def test_outputs_are_the_published_networks(name: str, case: str) -> None:
    wanted = recorded()[f"{name}/{case}/out"]
    assert torch.allclose(predicted(name, case)[1], wanted, atol=2e-5 * float(wanted.abs().max()))


@needs_recordings
@pytest.mark.parametrize("name", ["adm_a", "adm_c"])
def test_gradients_are_the_published_networks(name: str) -> None:
    x, out = predicted(name, "case0")
    (out.square().sum() / 2).backward()
    wanted = recorded()[f"{name}/case0/grad_of_half_sum_out_squared"]
    assert x.grad is not None
    assert torch.allclose(x.grad, wanted, atol=5e-5 * float(wanted.abs().max()))


@needs_recordings
@pytest.mark.parametrize("name", ["adm_a", "adm_b", "adm_c"])
def test_the_weights_tell_their_shape(name: str) -> None:
    known = flags(name)
    given = {field: getattr(known, field) for field in ("image_size", "head_channels", "heads", "attention_order")}
    assert shape_of(read_state_dict(GUIDED / f"{name}.pt"), **given) == known


@needs_recordings
def test_the_other_order_of_q_k_v_gives_something_else() -> None:
    state, shape = read_state_dict(GUIDED / "adm_a.pt"), flags("adm_a")
    wrong = adm_of_state(state, AdmShape(**{**shape.as_dict(), "attention_order": "new"}))
    model = PixelBackbone(wrong, shape, "wrong", torch.device("cpu"), torch.float32)
    x = recorded()["adm_a/case0/x"]
    out = output(model, x, 500, model.unconditional())
    right = output(backbone("adm_a"), x, 500, model.unconditional())
    assert (out - right).abs().max() > 1e-3


@needs_recordings
def test_a_converted_folder_is_the_same_network(tmp_path: Path) -> None:
    for name in ("adm_a", "adm_b", "adm_c"):
        save_adm(backbone(name).unet.state_dict(), flags(name), tmp_path / name)
        unet, shape = load_adm(tmp_path / name, torch.float32)
        assert shape == flags(name)
        own = backbone(name).unet.state_dict()
        assert all(torch.equal(own[key], value) for key, value in unet.state_dict().items())


def original(shape: AdmShape) -> dict[str, Tensor]:
    """Random weights of a shape in the original layout, made by walking the names backwards."""
    from velatura.models.adm.checkpoint import ENDS, RESIDUAL, _modules

    def back(key: str) -> str:
        place, _, kind = key.rpartition(".")
        for theirs, ours in ENDS.items():
            if place == ours:
                return f"{theirs}.{kind}"
        for theirs, ours in _modules(shape).items():
            if place.startswith(f"{ours}."):
                rest = place.removeprefix(f"{ours}.")
                attention = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
                inner = {v: k for k, v in RESIDUAL.items()} | attention
                return f"{theirs}.{inner[rest]}.{kind}"
        raise AssertionError(key)

    named = {back(key): torch.randn_like(value) for key, value in build_adm(shape).state_dict().items()}
    joined = {key: value for key, value in named.items() if key.split(".")[-2] not in ("q", "k", "v")}
    for key in (key for key in named if key.split(".")[-2] == "q"):
        stem, _, kind = key.rsplit(".", 2)
        joined[f"{stem}.qkv.{kind}"] = torch.cat([named[f"{stem}.{part}.{kind}"] for part in ("q", "k", "v")])
    return joined


SHAPES = {
    "like 256 px": AdmShape(256, 32, (1, 1, 2, 2, 4, 4), 2, (3, 4, 5), head_channels=32),
    "like 512 px": AdmShape(512, 64, (0.5, 1, 1, 2, 2, 4, 4), 2, (4, 5, 6), head_channels=64, classes=10),
    "like FFHQ": AdmShape(256, 32, (1, 1, 2, 2, 4, 4), 1, (4,), head_channels=32),
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_the_released_layouts_are_recognised_and_fit(shape: AdmShape) -> None:
    state = original(shape)
    assert shape_of(state, head_channels=shape.head_channels) == shape
    unet = adm_of_state(state, shape)
    labels = torch.zeros(1, dtype=torch.long) if shape.classes else None
    assert unet(torch.randn(1, 3, 64, 64), 100, class_labels=labels).sample.shape == (1, 6, 64, 64)


def test_the_real_256_px_model_has_its_published_number_of_parameters() -> None:
    with torch.device("meta"):
        unet = build_adm(AdmShape(256, 256, (1, 1, 2, 2, 4, 4), 2, (3, 4, 5)))
    assert round(sum(p.numel() for p in unet.parameters()) / 1e6, 1) == 552.8


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_converted_folder_keeps_the_stored_precision_and_the_native_size(dtype: torch.dtype, tmp_path: Path) -> None:
    shape = SHAPES["like FFHQ"]
    state = {key: value.to(dtype) for key, value in original(shape).items()}
    save_file(state, tmp_path / "adm.safetensors")
    given = ["--head-channels", "32", "--image-size", "64"]
    outcome = CliRunner().invoke(app, ["models", "convert", str(tmp_path / "adm.safetensors"), *given])
    assert outcome.exit_code == 0, outcome.exception
    stored = load_file(tmp_path / "adm" / "unet.safetensors")
    assert {value.dtype for value in stored.values()} == {dtype}
    assert torch.equal(stored["conv_out.weight"], state["out.2.weight"])
    assert load_adm(tmp_path / "adm", torch.float32)[1].image_size == 64


def test_rescaled_timesteps_are_those_of_1000_steps() -> None:
    known = {"image_size": 64, "num_channels": 32, "num_res_blocks": 1, "attention_resolutions": "16"}
    known |= {"num_head_channels": 16, "num_heads": 4, "rescale_timesteps": True}
    assert AdmShape.of_flags(known) == AdmShape.of_flags({**known, "rescale_timesteps": False})
    with pytest.raises(ModelError, match="Models of 4000 diffusion steps are not supported"):
        AdmShape.of_flags({**known, "diffusion_steps": 4000})


def test_wrong_and_truncated_files_are_refused_by_name(tmp_path: Path) -> None:
    shape = SHAPES["like FFHQ"]
    state = original(shape)
    with pytest.raises(ModelError, match="not the weights of an ADM"):
        shape_of({"conv.weight": torch.zeros(1)})
    missing = {key: value for key, value in state.items() if key != "middle_block.1.norm.weight"}
    with pytest.raises(ModelError, match=r"mid_block.attentions.0.group_norm.weight is missing"):
        adm_of_state(missing, shape)
    with pytest.raises(ModelError, match=r"'extra.weight' has no place"):
        adm_of_state({**state, "extra.weight": torch.zeros(1)}, shape)
    with pytest.raises(ModelError, match="has another size"):
        adm_of_state({**state, "out.2.weight": torch.zeros(6, 32, 1, 1)}, shape)
    save_file(state, tmp_path / "whole.safetensors")
    whole = (tmp_path / "whole.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match=r"cut.safetensors is damaged"):
        read_state_dict(tmp_path / "cut.safetensors")
    with pytest.raises(ModelError, match="convert it again"):
        load_adm(tmp_path, torch.float32)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"attention_order": "odd"}, "legacy or new"),
        ({"schedule": "odd"}, "linear or cosine"),
        ({"head_channels": 48}, "do not divide into heads of 48"),
        ({"image_size": 100}, "side of a multiple of 32 pixels, not 100"),
    ],
)
def test_shapes_that_cannot_be(change: dict[str, object], sentence: str) -> None:
    with pytest.raises(ModelError, match=sentence):
        AdmShape(**{**SHAPES["like FFHQ"].as_dict(), **change})
