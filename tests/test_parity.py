"""Loaders, UNets and inversion against numbers recorded from the published implementations (../shared/parity)."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.conftest import smooth_image
from velatura.app.studio import Studio
from velatura.diffusion.guidance import conditional
from velatura.diffusion.inversion import invert
from velatura.models.backbone import Conditioning, PictureWords
from velatura.models.latent import LatentBackbone
from velatura.models.loading.load import load_backbone
from velatura.models.noise_schedule import Levels, add_noise
from velatura.models.token_embeddings import token_embeddings_replaced
from velatura.picture import Picture

PARITY = Path(__file__).resolve().parents[2] / "shared" / "parity"
needs_recordings = pytest.mark.skipif(not PARITY.is_dir(), reason=f"the recordings in {PARITY} are not here")
pytestmark = needs_recordings


def off(ours: Tensor, recorded: Tensor) -> float:
    """Largest difference as a share of the recording's largest value."""
    return ((ours - recorded).abs().max() / recorded.abs().max()).item()


@pytest.fixture(scope="module")
def single_file() -> LatentBackbone:
    return load_backbone(str(PARITY / "s2prest/tiny/tiny.ckpt"), device="cpu", dtype="fp32")


@pytest.fixture(scope="module")
def run() -> dict[str, Tensor]:
    return load_file(PARITY / "s2prest/s2_s0.4_T10_nodrop.safetensors")


@pytest.fixture(scope="module")
def folder() -> LatentBackbone:
    return load_backbone(str(PARITY / "diffstyler/tiny"), device="cpu", dtype="fp32")


@pytest.fixture(scope="module")
def inversion() -> dict[str, Tensor]:
    return load_file(PARITY / "diffstyler/invert256_999.safetensors")


def test_single_file_unet(single_file: LatentBackbone, run: dict[str, Tensor]) -> None:
    ours = single_file.predict(run["inversion.x"], int(run["inversion.t"]), Conditioning(run["inversion.c"]))
    assert off(ours.noise, run["inversion.eps_hat"]) < 1e-5


def test_single_file_text_encoder_with_and_without_words(single_file: LatentBackbone, run: dict[str, Tensor]) -> None:
    assert off(single_file.encode_prompt([""]).states, run["cond.0"]) < 1e-5
    for call in (3, 4, 5):
        assert off(single_file.encode_prompt(["*"], run[f"v.{call}"]).states, run[f"cond.{call}"]) < 1e-5


def test_a_word_replaces_every_placeholder(single_file: LatentBackbone) -> None:
    modules = load_file(PARITY / "s2prest/modules.safetensors")
    ids = modules["text.ids"].long()
    at = ids == single_file.placeholder_id
    assert at.sum() == 3
    with token_embeddings_replaced(single_file.text_encoder, at, modules["A.out"]):
        ours = single_file.text_encoder(ids).last_hidden_state
    assert off(ours, modules["text.out_three_stars"]) < 1e-5


def test_single_file_decoder(single_file: LatentBackbone, run: dict[str, Tensor]) -> None:
    decoded = single_file.decode(run["latent.last"])
    assert off(decoded[..., ::8, ::8], run["decoded.every8"]) < 1e-4


def test_single_file_forward_noising(single_file: LatentBackbone, run: dict[str, Tensor]) -> None:
    abar = float(single_file.schedule.alphas_cumprod[int(run["t_train"])])
    ours = add_noise(run["z.content"], run["noise.q_sample.0"], abar)
    assert off(ours, run["q_sample.0"]) < 1e-5


def test_a_clip_folder_beside_the_file_gives_the_image_embedding(single_file: LatentBackbone) -> None:
    seen = single_file.encode_image(torch.zeros(1, 3, 100, 80))
    assert seen.shape == (1, 64)
    assert seen.norm().item() == pytest.approx(1, abs=1e-5)
    assert not isinstance(single_file, PictureWords)


def test_diffusers_folder_schedule(folder: LatentBackbone, inversion: dict[str, Tensor]) -> None:
    assert off(folder.schedule.alphas_cumprod.float(), inversion["alphas_cumprod"]) < 1e-6


@pytest.mark.parametrize(("call", "timestep"), [("inv.{}_call1_t1", 1), ("inv.{}_call499_t499", 499)])
def test_diffusers_folder_unet(folder: LatentBackbone, inversion: dict[str, Tensor], call: str, timestep: int) -> None:
    condition = Conditioning(inversion["cond"])
    ours = folder.predict(inversion[call.format("in")], timestep, condition).noise
    assert off(ours, inversion[call.format("eps")]) < 1e-5


def test_diffusers_folder_text_encoder(folder: LatentBackbone, inversion: dict[str, Tensor]) -> None:
    assert off(folder.encode_prompt([""]).states, inversion["cond"]) < 1e-5


def test_inversion_walks_as_published(folder: LatentBackbone, inversion: dict[str, Tensor]) -> None:
    recorded = sorted(int(key[2:]) for key in inversion if key.startswith("z."))
    last = max(t for t in recorded if t <= 60)
    abars = inversion["alphas_cumprod"].double().tolist()
    levels = Levels(tuple(range(1, last + 1)), tuple(abars[: last + 1]))
    with torch.no_grad():
        trajectory = invert(conditional(folder, Conditioning(inversion["cond"])), inversion["content_latent"], levels)
    assert off(trajectory.noisiest, inversion[f"z.{last}"]) < 1e-4


def test_a_style_in_words_is_followed_by_the_clip_beside_the_model() -> None:
    studio = Studio(str(PARITY / "s2prest/tiny/tiny.ckpt"), "cpu", "fp32")
    settings = {"steps": 4, "strength": 0.5, "size": 64, "weights": {"clip_patch": 1.0, "clip_dir_patch": 2.0}}
    content = Picture.of(smooth_image(64, 80), "content")
    words, others = (
        studio.stylize(content, f"text:{text}", 0, "guided", **settings) for text in ("a painting", "the photo")
    )
    assert set(words.scores) == {"clip_patch", "clip_dir_patch", "unet_evaluations"}
    assert words.manifest["image_encoder"].endswith("clip")
    assert words.picture.tobytes() != others.picture.tobytes()
