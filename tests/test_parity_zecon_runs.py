"""Whole runs of zecon-original against those of the published code, through ``models convert`` and the Studio."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from typer.testing import CliRunner

from tests.test_parity_adm import GUIDED, needs_recordings
from tests.tiny_clip import write_tiny_clip
from velatura.app.cli import app
from velatura.app.studio import Studio
from velatura.errors import SettingError
from velatura.models.features.vgg import UNSHIFTED, VGGTrunk, with_published_weights
from velatura.progress import Silent
from velatura.reproductions.zecon import targets
from velatura.reproductions.zecon.ancestral import AncestralSchedule, rounded_index
from velatura.reproductions.zecon.method import ZeConOriginal

pytestmark = needs_recordings
FACE = GUIDED.parent.parent / "data" / "seed" / "face.jpg"
WEIGHTS = {"zecon": 25.0, "mse_rgb": 250.0, "vgg_shallow": 5.0, "range": 2.5}
NO_CLIP = {"clip_patch": 0.0, "clip_dir_patch": 0.0}
CLIP = {"clip_patch": 500.0, "clip_dir_patch": 1000.0}
RECORDED_NAMES = {
    "zecon": "zecon_loss",
    "mse_rgb": "mse_loss",
    "vgg_shallow": "vgg_loss",
    "range": "range_loss",
    "clip_patch": "clip_global_patch_loss",
    "clip_dir_patch": "clip_dir_patch_loss",
}


class Steps(Silent):
    """Keeps what is noted at each step."""

    def __init__(self) -> None:
        self.noted: list[dict[str, float]] = []

    def note(self, **values: float) -> None:
        self.noted.append(values)


def tiny_vgg() -> VGGTrunk:
    """VGG19's layers at the widths of the recorded network."""
    blocks = ((8, 2), (16, 2), (16, 4), (32, 4), (32, 4))
    state = {key: value.float() for key, value in torch.load(GUIDED / "vgg_tiny.pt", weights_only=True).items()}
    return with_published_weights(VGGTrunk("tiny", UNSHIFTED, blocks), state)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recorded ADM, converted, with the recorded CLIP beside it."""
    folder = tmp_path_factory.mktemp("models")
    flags = ["--flags", str(GUIDED / "adm_b.json"), "--out", str(folder / "adm_b")]
    outcome = CliRunner().invoke(app, ["models", "convert", str(GUIDED / "adm_b.pt"), *flags])
    assert outcome.exit_code == 0, outcome.exception
    write_tiny_clip(GUIDED, folder / "clip")
    return folder / "adm_b"


def of_run(name: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    return json.loads((GUIDED / f"{name}.json").read_text()), load_file(GUIDED / f"{name}.safetensors")


def off(ours: Tensor, wanted: Tensor) -> float:
    return float((ours - wanted).abs().max() / wanted.abs().max())


def run(model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> tuple[Steps, dict[str, Tensor]]:
    """The losses of each step, and the tensors of a run: its start and its last x0."""
    kept: dict[str, Tensor] = {}
    start, sample = ZeConOriginal._start_latents, ZeConOriginal._sample

    def kept_start(self: ZeConOriginal, *given: Any) -> Tensor:
        kept["start"] = start(self, *given)
        return kept["start"]

    def kept_sample(self: ZeConOriginal, *given: Any) -> tuple[Tensor, dict[str, float]]:
        kept["x0"], values = sample(self, *given)
        return kept["x0"], values

    monkeypatch.setattr(ZeConOriginal, "_start_latents", kept_start)
    monkeypatch.setattr(ZeConOriginal, "_sample", kept_sample)
    monkeypatch.setattr(targets, "zecon_trunk", lambda device: tiny_vgg())
    steps = Steps()
    studio = Studio(str(model), "cpu", "fp32", folder / "styles", steps)
    studio.stylize(FACE, "text:a sketch with crayon", 42, "zecon-original", **settings)
    return steps, kept


def agree(name: str, steps: Steps, kept: dict[str, Tensor], last: str) -> None:
    about, arrays = of_run(name)
    assert off(kept["start"], arrays["start/x_first"]) < 1e-3
    for ours, theirs in zip(steps.noted, about["steps"], strict=True):
        wanted = {name: theirs["losses"][key]["value"] for name, key in RECORDED_NAMES.items() if name in ours}
        assert ours == pytest.approx(wanted, rel=1e-3, abs=1e-3), theirs["index"]
    assert off(kept["x0"], arrays[last]) < 1e-3


def test_ddim_from_the_inverted_latent(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps, kept = run(model, tmp_path, monkeypatch, sampler="ddim", weights=WEIGHTS | NO_CLIP)
    agree("zecon_content_ddim_ddim_eta0", steps, kept, "step24/pred_xstart_returned")


def test_ddpm_with_the_readmes_losses(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"patch_area_max": 0.3, "weights": WEIGHTS | CLIP}
    steps, kept = run(model, tmp_path, monkeypatch, **settings)
    agree("zecon_readme_ddim_ddpm", steps, kept, "step24/pred_xstart_unguided")


@pytest.mark.parametrize(("sampler", "draws"), [("ddim", 1), ("ddpm", 2)])
def test_a_start_without_inversion_draws_as_published(
    sampler: str, draws: int, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DDIM takes the one noise it draws, DDPM the second of two; both noise the content at the first step's index."""
    weights = NO_CLIP | {"zecon": 0.0, "mse_rgb": 0.0, "vgg_shallow": 0.0, "range": 0.0}
    settings = {"strength": 0.04, "start": "noise", "sampler": sampler, "weights": weights}
    _, kept = run(model, tmp_path, monkeypatch, **settings)
    content = of_run("zecon_readme_ddim_ddpm")[1]["init_image"]
    generator = torch.Generator().manual_seed(42)
    noise = [torch.randn(content.shape, generator=generator) for _ in range(draws)][-1]
    assert torch.allclose(kept["start"], AncestralSchedule.of("50").add_noise(content, noise, 1))


@pytest.mark.parametrize("steps", [290, 295, 350])
def test_indices_are_rounded_in_float32(steps: int) -> None:
    """As torch multiplies a tensor of timesteps."""
    visited = torch.tensor(AncestralSchedule.of(str(steps)).timesteps)
    wanted = (visited * (steps / 1000)).long().tolist()
    assert [rounded_index(timestep, steps) for timestep in visited.tolist()] == wanted


def test_views_and_patch_areas_are_bounded() -> None:
    for refused in ({"views": 0}, {"patch_area_min": 0.0}, {"patch_area_min": 0.2, "patch_area_max": 0.1}):
        with pytest.raises(SettingError, match="|".join(refused)):
            ZeConOriginal(**refused)
