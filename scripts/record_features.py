"""Record what the original networks answer, for tests/test_features.py to compare the converted ones with.

It writes tests/fixtures/features.safetensors. It needs what ``convert_weights.py`` needs, and
``pip install onnxruntime efficientnet-lite-pytorch==0.1.0``. HED is evaluated from its float32 file, EfficientNet-Lite0
by the package it was published with. Magenta's int8 graphs are evaluated twice: as they are, with onnxruntime's
optimisations off ("exact"), and without their rounding ("float"). (With its optimisations on, onnxruntime's answer
depends on the processor: without VNNI its int8 products saturate, see docs/decisions/0014.)
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

from convert_weights import (  # noqa: E402
    EFFICIENTNET_FILE,
    PREDICTOR_FILE,
    TRANSFORMER_FILE,
    Arrays,
    hed_heads,
    hed_trunk,
    lpips_heads,
    original,
    serialised,
)

FIXTURE = ROOT / "tests" / "fixtures" / "features.safetensors"
KEPT = 200  # numbers of each layer of HED's trunk
HED_MEAN = (104.007, 116.669, 122.679)  # of blue, green and red bytes


def picture(height: int = 96, width: int = 64) -> np.ndarray[Any, Any]:
    """Bytes (3, height, width) of waves, a disc and stripes: flat parts, edges and all colours."""
    y, x = np.mgrid[0:height, 0:width] / width
    waves = np.stack([np.sin(7 * x + 3 * y), np.sin(5 * y - 2 * x + 1), np.cos(9 * x * y)])
    disc = (x - 0.5) ** 2 + (y - 0.6) ** 2 < 0.09
    stripes = (np.floor(16 * (x + y)) % 2 * 0.7)[None] * np.array([1.0, -1.0, 0.5])[:, None, None]
    return ((np.where(disc, stripes, waves * 0.8) + 1) * 127.5).round().clip(0, 255).astype(np.uint8)


def as_pixels(content: np.ndarray[Any, Any]) -> Tensor:
    """Bytes (3, H, W) to pixels (1, 3, H, W) in [-1, 1]."""
    return torch.from_numpy(content)[None] / 127.5 - 1


def vgg_layers(weights: Mapping[str, Tensor], pixels: Tensor) -> dict[str, Tensor]:
    """Every activation of HED's trunk, from its float32 weights."""
    x = (pixels[:, [2, 1, 0]] + 1) * 127.5 - torch.tensor(HED_MEAN)[:, None, None]
    layers: dict[str, Tensor] = {}
    for layer in sorted(key.removesuffix(".weight") for key in weights if key.endswith(".weight")):
        if layer.endswith("_1") and layer != "relu1_1":
            x = F.max_pool2d(x, 2)
        x = F.relu(F.conv2d(x, weights[f"{layer}.weight"], weights[f"{layer}.bias"], padding=1))
        layers[layer] = x
    return layers


def edge_picture(layers: Mapping[str, Tensor], heads: Mapping[str, Tensor], size: torch.Size) -> Tensor:
    """HED's fused edges (B, 1, H, W), 1 on none to -1 on the surest."""
    sides = [
        F.interpolate(
            F.conv2d(layers[layer], heads[f"sides.{layer}.weight"], heads[f"sides.{layer}.bias"]), size, mode="bilinear"
        )
        for layer in ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3")
    ]
    return 1 - 2 * torch.sigmoid(F.conv2d(torch.cat(sides, 1), heads["fuse.weight"], heads["fuse.bias"]))


def lpips(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor], heads: Mapping[str, Tensor]) -> Tensor:
    """The distance that the heads give two pictures' layers."""
    each = [
        (head * (F.normalize(ours[layer], eps=1e-10) - F.normalize(theirs[layer], eps=1e-10)).square()).sum(1).mean()
        for layer, head in heads.items()
    ]
    return torch.stack(each).sum()


def efficientnet_features(pixels: Tensor) -> Tensor:
    """Features (B, 1280) by the published package."""
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0").eval()
    network.load_state_dict(torch.load(original(EFFICIENTNET_FILE), map_location="cpu", weights_only=True))
    square = F.interpolate(pixels, (224, 224), mode="bicubic", antialias=True)
    features: Tensor = network.extract_features((square * 127.5 + 0.5) / 128).mean((2, 3))
    return features


def without_rounding(model: Any) -> Any:
    """The ONNX model with its weights multiplied out and nothing rounded between its operations."""
    from onnx import helper, numpy_helper

    graph = model.graph
    stored = {entry.name: numpy_helper.to_array(entry) for entry in graph.initializer}
    same: dict[str, str] = {}
    kept = []
    for node in graph.node:
        if node.op_type == "QuantizeLinear" or (node.op_type == "DequantizeLinear" and node.input[0] not in stored):
            same[node.output[0]] = same.get(node.input[0], node.input[0])
        elif node.op_type == "DequantizeLinear":
            numbers, scale, zero = (stored[part].astype(np.float64) for part in node.input)
            shape = (-1,) + (1,) * (numbers.ndim - 1) if scale.ndim else ()
            real = (numbers - zero.reshape(shape)) * scale.reshape(shape)
            graph.initializer.append(numpy_helper.from_array(real.astype(np.float32), node.output[0]))
        else:
            for number, part in enumerate(node.input):
                node.input[number] = same.get(part, part)
            kept.append(node)
    kept += [helper.make_node("Identity", [same[end.name]], [end.name]) for end in graph.output if end.name in same]
    del graph.node[:]
    graph.node.extend(kept)
    return model


def session(source: tuple[str, str, str], rounded: bool) -> Any:
    """One of Magenta's graphs, as it is or without its rounding (this needs onnx), evaluated literally."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    graph: str | bytes = str(original(source))
    if not rounded:
        import onnx

        graph = without_rounding(onnx.load(graph)).SerializeToString()
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def magenta(pixels: Tensor, rounded: bool) -> tuple[Tensor, Tensor]:
    """Style vectors (B, 100) of pictures, and the pictures painted by them, in [-1, 1]."""

    def squares(side: int) -> np.ndarray[Any, Any]:
        square = (F.interpolate(pixels, (side, side), mode="bicubic", antialias=True) + 1) / 2
        return np.ascontiguousarray(square.clamp(0, 1).permute(0, 2, 3, 1).numpy())

    predictor, transformer = (session(source, rounded) for source in (PREDICTOR_FILE, TRANSFORMER_FILE))
    style = predictor.run(None, {predictor.get_inputs()[0].name: squares(256)})[0]
    content, vector = (entry.name for entry in transformer.get_inputs())
    painted = transformer.run(None, {content: squares(384), vector: style})[0]
    unit = torch.from_numpy(painted).permute(0, 3, 1, 2) * 2 - 1
    sized = F.interpolate(unit, pixels.shape[2:], mode="bicubic", antialias=True).clamp(-1, 1)
    return torch.from_numpy(style).reshape(1, -1), sized


def sample(values: Tensor) -> Tensor:
    """``KEPT`` of the numbers, evenly, the largest first."""
    flat = values.flatten()
    return torch.cat([flat.max()[None], flat[:: max(1, len(flat) // KEPT)][:KEPT]])


def _tensors(arrays: Arrays) -> dict[str, Tensor]:
    return {key: torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32)) for key, array in arrays.items()}


@torch.no_grad()
def recorded() -> Arrays:
    """Every number of the fixture."""
    content = picture()
    pixels = as_pixels(content)
    trunk, heads, linear = _tensors(hed_trunk()), _tensors(hed_heads()), _tensors(lpips_heads())
    layers = vgg_layers(trunk, pixels)
    found = {f"vgg.{layer}": sample(values) for layer, values in layers.items()}
    found["hed"] = edge_picture(layers, heads, pixels.shape[2:])
    found["lpips"] = lpips(layers, vgg_layers(trunk, pixels.flip(3)), linear)[None]
    found |= {f"lpips.{layer}": head for layer, head in linear.items()}
    found["efficientnet"] = efficientnet_features(pixels)
    for name, rounded in (("exact", True), ("float", False)):
        found[f"magenta.vectors.{name}"], painted = magenta(pixels, rounded)
        found[f"magenta.painted.{name}"] = painted[:, :, ::2, ::2]
    return {"picture": content, **{key: value.numpy() for key, value in found.items()}}


if __name__ == "__main__":
    FIXTURE.parent.mkdir(exist_ok=True)
    FIXTURE.write_bytes(serialised(recorded(), {"made_by": "scripts/record_features.py"}))
    print(f"{FIXTURE}: {FIXTURE.stat().st_size:,} bytes")
