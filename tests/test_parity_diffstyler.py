"""diffstyler-original against the recorded run of the published code (../shared/parity/diffstyler)."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.test_parity import PARITY, needs_recordings, off
from velatura.methods.base import WorkingPicture
from velatura.methods.context import RunContext
from velatura.models.backbone import Conditioning
from velatura.models.latent import LatentBackbone
from velatura.models.loading.load import load_backbone
from velatura.models.lora_files import read_lora
from velatura.models.noise_schedule import Levels
from velatura.picture import open_picture
from velatura.progress import Silent
from velatura.regions import Placement
from velatura.reproductions.diffstyler import (
    DiffStylerOriginal,
    PublishedRegion,
    PublishedRun,
    cells_of_mask,
    denoise_published,
    inversion_levels,
    published_text,
)

FOLDER = PARITY / "diffstyler"
MASKED = PARITY.parent / "data" / "masked"
pytestmark = [
    needs_recordings,
    pytest.mark.skipif(not MASKED.is_dir(), reason=f"the pictures in {MASKED} are not here"),
]


@pytest.fixture(scope="module")
def backbone() -> LatentBackbone:
    return load_backbone(str(FOLDER / "tiny"), device="cpu", dtype="fp32")


@pytest.fixture(scope="module")
def steps(backbone: LatentBackbone) -> dict[int, dict[str, Tensor]]:
    """What every step of our run made."""
    described = json.loads((FOLDER / "gen256_published_one.json").read_text())
    stored = load_file(FOLDER / "invert256_999.safetensors")

    def condition(text: str) -> Conditioning:
        ids = described["ids"][text]
        end = ids[-1]
        padding = backbone.tokenizer.pad_token_id
        padded = torch.tensor([ids + [padding] * (backbone.tokenizer.model_max_length - len(ids))])
        assert end == backbone.tokenizer.eos_token_id
        with torch.no_grad():
            return Conditioning(backbone.text_encoder(padded).last_hidden_state)

    config = described["config"]
    region = PublishedRegion(
        read_lora(FOLDER / "lora/lora_deer_c1.safetensors"),
        condition(config["prompt_gene"]),
        cells_of_mask(open_picture(MASKED / f"{config['mask']}.png").image, (32, 32)),
    )
    run = PublishedRun(
        condition(""), condition(config["negative_prompt"]), config["n_timesteps"], config["guidance_scale"]
    )
    seen: dict[int, dict[str, Tensor]] = {}
    denoise_published(backbone, lambda t: stored[f"z.{t}"], [region], run, Silent(), seen.__setitem__)
    return seen


@pytest.fixture(scope="module")
def recorded() -> dict[str, Tensor]:
    return load_file(FOLDER / "gen256_published_one.safetensors")


@pytest.mark.parametrize("step", [1, 2, 3, 25, 26, 30, 31, 40, 49, 50])
def test_latents(step: int, steps: dict[int, dict[str, Tensor]], recorded: dict[str, Tensor]) -> None:
    wanted = recorded[f"x_after_step{step}"]
    assert ((steps[step]["x"] - wanted).abs().max() / wanted.square().mean().sqrt()).item() < 1e-3
    assert ((steps[step]["x"] - wanted).square().mean().sqrt() / wanted.square().mean().sqrt()).item() < 1e-4


def test_the_tokens_of_every_prompt(backbone: LatentBackbone) -> None:
    described = json.loads((FOLDER / "gen256_published_one.json").read_text())
    for text, ids in described["ids"].items():
        assert backbone.token_ids([published_text(text)])[0, : len(ids)].tolist() == ids, text


def test_the_inversion_begins_at_the_recorded_latents(
    backbone: LatentBackbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored, picture = load_file(FOLDER / "invert256_999.safetensors"), open_picture(MASKED / "deer1.jpg")
    every = inversion_levels(backbone.schedule)
    monkeypatch.setattr(
        "velatura.reproductions.diffstyler.inversion_levels",
        lambda _: Levels(every.timesteps[:1], every.abars[:2]),
    )
    method = DiffStylerOriginal(size=256)
    content = WorkingPicture(picture, method.working_size(picture.size, backbone), Placement((), ()))
    with torch.no_grad():
        trajectory = method.inverted(content, RunContext(backbone))
    assert off(trajectory.latents[0], stored["content_latent"]) < 1e-5
    assert off(trajectory.noisiest, stored["z.1"]) < 1e-5


@pytest.mark.parametrize("name", ["eps3.base", "eps3.lora0"])
def test_predictions_of_each_unet(name: str, steps: dict[int, dict[str, Tensor]], recorded: dict[str, Tensor]) -> None:
    assert off(steps[26][name], recorded[f"step26.{name}"]) < 1e-4


def test_the_unet_is_left_as_it_was(backbone: LatentBackbone, steps: dict[int, dict[str, Tensor]]) -> None:
    fresh = load_backbone(str(FOLDER / "tiny"), device="cpu", dtype="fp32")
    own, other = backbone.unet.state_dict(), fresh.unet.state_dict()
    assert list(own) == list(other) and all(torch.equal(own[key], other[key]) for key in own)
