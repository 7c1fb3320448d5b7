"""Published metrics: their formulas on closed forms and tiny networks in the published layouts; what is missing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModel, CLIPVisionModelWithProjection, ViTConfig, ViTModel

from velatura.errors import ModelError
from velatura.evaluation.published import (
    art_fid,
    cfsd,
    clip_similarity,
    csd_similarity,
    dino_structure_distance,
    fid,
    lpips,
)
from velatura.evaluation.published import style_descriptor as csd_module
from velatura.evaluation.published.perceptual import VGG16
from velatura.evaluation.published.structural import structural_distance
from velatura.evaluation.published.style_descriptor import NAMES, style_descriptor
from velatura.evaluation.published.weights import PublishedWeights
from velatura.models.encoders.clip import middle_square, prepared
from velatura.picture import pixels_to_image

PICTURES = torch.rand(2, 3, 40, 48, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_missing_weights_and_packages_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(ModelError, match="pip install no-such-package"):
        PublishedWeights("X", ("torch", "no-such-package"), "x.pth", "https://example.org/x.pth").check()
    with pytest.raises(ModelError, match=r"download https://example.org/x.pth to .*checkpoints/x.pth"):
        PublishedWeights("X", ("torch",), "x.pth", "https://example.org/x.pth").check()
    for metric in (lpips, fid):
        with pytest.raises(ModelError, match="needs"):
            metric(PICTURES, PICTURES)


def test_present_weights_pass(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / VGG16.file).touch()
    PublishedWeights("LPIPS", ("torch",), VGG16.file, "").check()


@pytest.mark.parametrize("wrong", [-1.0, float("nan"), float("inf")])
def test_art_fid_takes_distances_only(wrong: float) -> None:
    assert art_fid(0.0, 0.0) == 1
    with pytest.raises(ValueError):
        art_fid(wrong, 0.0)


def test_structural_distance_is_the_sum_of_the_rows_divergences() -> None:
    found, wanted = torch.randn(2, 1, 4, 3, 2, generator=torch.Generator().manual_seed(1))

    def rows(features: Tensor) -> Tensor:
        x = features[0].reshape(4, 6).T / 4
        return torch.softmax(x @ x.T, dim=1)

    p, q = rows(wanted), rows(found)
    assert structural_distance(found, wanted).item() == pytest.approx((p * (p / q).log()).sum().item(), rel=1e-4)
    assert structural_distance(wanted, wanted).item() == 0


def test_structural_distance_does_not_depend_on_its_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    found, wanted = torch.randn(2, 2, 4, 5, 5, generator=torch.Generator().manual_seed(2))
    whole = structural_distance(found, wanted)
    monkeypatch.setattr("velatura.evaluation.published.structural.ROWS", 7)
    assert torch.allclose(structural_distance(found, wanted), whole)


def test_cfsd_with_weights_in_torchvisions_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(ModelError, match=r"CFSD needs its published weights: download https.*vgg19"):
        cfsd(PICTURES, PICTURES)
    widths = [3, 64, 64, 128, 128, *[256] * 4, *[512] * 8]
    places = [0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34]
    generator = torch.Generator().manual_seed(3)
    state = {}
    for place, before, after in zip(places, widths[:-1], widths[1:], strict=True):
        state[f"features.{place}.weight"] = torch.randn(after, before, 3, 3, generator=generator) / before**0.5
        state[f"features.{place}.bias"] = torch.zeros(after)
    (tmp_path / "checkpoints").mkdir()
    torch.save(state, tmp_path / "checkpoints" / "vgg19-dcbb9e9d.pth")
    assert cfsd(PICTURES, PICTURES) == 0
    assert cfsd(PICTURES.flip(3), PICTURES) > cfsd(PICTURES + 0.01, PICTURES) > 0
    with pytest.raises(ValueError, match="of different sizes"):
        cfsd(PICTURES, PICTURES[..., :40])


def test_dino_structure_distance(tmp_path: Path) -> None:
    config = ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, image_size=32, patch_size=8
    )
    torch.manual_seed(0)
    ViTModel(config).save_pretrained(tmp_path)
    assert dino_structure_distance(PICTURES, PICTURES, str(tmp_path)) == 0
    assert 0 < dino_structure_distance(PICTURES.flip(3), PICTURES, str(tmp_path)) < 4
    with pytest.raises(ModelError, match="could not give it"):
        dino_structure_distance(PICTURES, PICTURES, "nobody/nothing")


def test_clip_similarity(tmp_path: Path) -> None:
    config = CLIPVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=8
    )
    torch.manual_seed(0)
    CLIPVisionModelWithProjection(config).save_pretrained(tmp_path)
    assert clip_similarity(PICTURES, PICTURES, str(tmp_path)) == pytest.approx(1, abs=1e-5)
    assert clip_similarity(PICTURES, -PICTURES, str(tmp_path)) < 1


def openai_layout(tower: CLIPVisionModel, style: Tensor) -> dict[str, Tensor]:
    """A tower of transformers as CSD's file has it."""
    state: dict[str, Tensor] = {"last_layer_style": style}
    for name, value in tower.state_dict().items():
        key = name.removeprefix("vision_model.")
        for old, new in NAMES.items():
            key = key.replace(new, old)
        state[f"backbone.{key}"] = value
    for start in [key.removesuffix("q_proj.weight") for key in state if key.endswith("q_proj.weight")]:
        for part in ("weight", "bias"):
            packed = torch.cat([state.pop(f"{start}{letter}_proj.{part}") for letter in "qkv"])
            state[start.replace(".self_attn.", ".attn.in_proj_") + part] = packed
    return {key: value.clone() for key, value in state.items() if "position_ids" not in key}


def test_csd_with_weights_in_its_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(ModelError, match="CSD similarity needs its published weights: download"):
        csd_similarity(PICTURES, PICTURES)
    torch.manual_seed(0)
    tower = CLIPVisionModel(
        CLIPVisionConfig(
            hidden_size=64,
            intermediate_size=96,
            num_hidden_layers=2,
            num_attention_heads=1,
            image_size=32,
            patch_size=8,
        )
    ).eval()
    style = torch.randn(64, 16)
    state = openai_layout(tower, style)
    descriptor = style_descriptor(state)
    square = middle_square(pixels_to_image(PICTURES[:1]), 32)
    with torch.no_grad():
        expected = torch.nn.functional.normalize(tower(prepared(square)).pooler_output @ style, dim=-1)
    assert torch.allclose(descriptor(PICTURES[:1]), expected, atol=1e-6)
    (tmp_path / "checkpoints").mkdir()
    save_file(state, tmp_path / "checkpoints" / "csd_vit_l.safetensors")
    csd_module._descriptor.cache_clear()
    assert csd_similarity(PICTURES, PICTURES) == pytest.approx(1, abs=1e-5)
    csd_module._descriptor.cache_clear()
    with pytest.raises(ModelError, match="does not hold CSD's weights"):
        style_descriptor({"backbone.class_embedding": torch.zeros(64)})
