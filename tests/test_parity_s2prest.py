"""The s2prest-original reproduction against the recorded run of the published code (../shared/parity/s2prest)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.test_parity import PARITY, needs_recordings, off
from velatura.methods.base import WorkingPicture
from velatura.methods.context import RunContext
from velatura.methods.s2prest.embeddings_file import read_published_embeddings
from velatura.methods.s2prest.quantities import Conditions, ContentBatch, Start
from velatura.methods.s2prest.style import S2PreSTStyle
from velatura.models.latent import LatentBackbone
from velatura.models.loading.load import load_backbone
from velatura.picture import open_picture
from velatura.regions import Placement, Region
from velatura.reproductions.s2prest import S2PreSTOriginal
from velatura.style import Style
from velatura.style.pictures import picture_tensor

SEED = PARITY.parent / "data" / "seed"
pytestmark = [
    needs_recordings,
    pytest.mark.skipif(not SEED.is_dir(), reason=f"the pictures in {SEED} are not here"),
]
SIZES = {"content": (500, 339), "style": (534, 747)}
SIDE = (512, 512)
Context = RunContext[LatentBackbone]


@pytest.fixture(scope="module")
def recorded() -> dict[str, Tensor]:
    return load_file(PARITY / "s2prest/s2_s0.4_T10_nodrop.safetensors")


@pytest.fixture(scope="module")
def backbone() -> LatentBackbone:
    return load_backbone(str(PARITY / "s2prest/tiny/tiny.ckpt"), device="cpu", dtype="fp32")


@pytest.fixture(scope="module")
def context(backbone: LatentBackbone) -> Context:
    return RunContext(backbone, 42)


@pytest.fixture(scope="module")
def method(backbone: LatentBackbone) -> S2PreSTOriginal:
    """Not at module level: the settings refuse an edge picture that is not there."""
    chosen = S2PreSTOriginal(steps=10, strength=0.4, edges=str(PARITY / "s2prest/canny.png"))
    return chosen.resolved(backbone)


def of_size(size: tuple[int, int]) -> Path:
    return next(path for path in sorted(SEED.iterdir()) if open_picture(path).size == size)


@pytest.fixture(scope="module")
def style() -> Style:
    word_map = read_published_embeddings(PARITY / "s2prest/embeddings.pt")
    picture = open_picture(of_size(SIZES["style"]))
    return Style(
        "published", "s2prest", "sd14", "", {**word_map.tensors(), "picture.00": picture_tensor(picture.image)}
    )


@pytest.fixture(scope="module")
def batch(method: S2PreSTOriginal, context: Context, style: Style) -> ContentBatch:
    picture = open_picture(of_size(SIZES["content"]))
    size = method.working_size(picture.size, context.backbone)
    assert size == SIDE
    content = WorkingPicture(picture, size, Placement.of([Region(style)], picture))
    with torch.no_grad():
        return method.prepare([content], S2PreSTStyle.of(style), context)


@pytest.fixture(scope="module")
def conditions(method: S2PreSTOriginal, batch: ContentBatch, context: Context, style: Style) -> Conditions:
    with torch.no_grad():
        return method.conditions(batch, S2PreSTStyle.of(style), context)


@pytest.fixture(scope="module")
def start(method: S2PreSTOriginal, batch: ContentBatch, conditions: Conditions, context: Context) -> Start:
    with torch.no_grad():
        return method.start(batch, conditions, method.entry(context.backbone.schedule), context)


def test_seed_42_draws_the_recorded_noises(batch: ContentBatch, recorded: dict[str, Tensor]) -> None:
    noises = batch.noises
    for ours, name in (
        (noises.style_posterior, "posterior.style"),
        (noises.content_posterior, "posterior.content"),
        (noises.edges_posterior, "posterior.canny"),
        (noises.content, "q_sample.0"),
        (noises.edges, "q_sample.1"),
    ):
        assert ours is not None and torch.equal(ours, recorded[f"noise.{name}"])


def test_clip_gets_what_the_published_cast_leaves(batch: ContentBatch, recorded: dict[str, Tensor]) -> None:
    assert off(batch.e_content, recorded["clip.image_embeds.4"]) < 1e-5
    assert off(batch.e_edges, recorded["clip.image_embeds.5"]) < 1e-5


def test_latents_of_content_edges_and_style(batch: ContentBatch, recorded: dict[str, Tensor]) -> None:
    assert off(batch.z_content, recorded["z.content"]) < 1e-5
    assert off(batch.z_edges, recorded["z.canny"]) < 1e-5
    # The autoencoder sums over 512 x 512 pixels in an order that hangs on the processor: 1.3e-5 on one of them.
    assert off(batch.z_style, recorded["z.style"]) < 2e-5


def test_conditions(method: S2PreSTOriginal, conditions: Conditions, recorded: dict[str, Tensor]) -> None:
    assert off(conditions.content.states, recorded["cond.4"]) < 1e-5
    assert off(conditions.edges.states, recorded["cond.5"]) < 1e-5
    assert off(conditions.style.states, recorded["cond.3"]) < 1e-5
    assert off(conditions.unconditional.states, recorded["sampling.u"]) < 1e-5
    assert off(method.condition(conditions).states, recorded["inversion.c"]) < 1e-5


def test_start_latent(start: Start, recorded: dict[str, Tensor]) -> None:
    assert off(start.mixed, recorded["z_mix"]) < 1e-5
    assert off(start.noisy, recorded["inversion.x"]) < 1e-5
    assert off(start.noise, recorded["inversion.eps_hat"]) < 1e-4
    assert off(start.latents, recorded["start_latent"]) < 1e-4


def test_the_whole_chain(
    method: S2PreSTOriginal, start: Start, conditions: Conditions, context: Context, recorded: dict[str, Tensor]
) -> None:
    entry = method.entry(context.backbone.schedule)
    assert (entry.timestep, entry.run) == (400, 4)
    with torch.no_grad():
        last = method.denoised(start.latents, conditions, entry, context)
        decoded = context.backbone.decode(last)
    assert (last - recorded["latent.last"]).abs().max() < 2e-4 * recorded["latent.last"].abs().max()
    png = np.asarray(method.to_image(decoded, SIZES["content"]))[::4, ::4].astype(int)
    assert np.abs(png - recorded["final_png.every4"].numpy().astype(int)).max() <= 1
