"""S2PreST under compat="original" against the recorded run of the published code (../shared/parity/s2prest)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.test_parity import PARITY, needs_recordings, off
from velatura.memory import Memory
from velatura.methods.s2prest import S2PreST
from velatura.methods.s2prest.quantities import Conditions, Prepared, Start
from velatura.models.latent import LatentBackbone
from velatura.models.loading import load_backbone
from velatura.picture import open_picture
from velatura.progress import Silent
from velatura.style import Style
from velatura.style.pictures import picture_tensor
from velatura.style.published import read_published_embeddings

SEED = PARITY.parent / "data" / "seed"
pytestmark = [
    needs_recordings,
    pytest.mark.skipif(not SEED.is_dir(), reason=f"the pictures in {SEED} are not here"),
]
SIZES = {"content": (500, 339), "style": (534, 747)}
SIDE = (512, 512)


@pytest.fixture(scope="module")
def recorded() -> dict[str, Tensor]:
    return load_file(PARITY / "s2prest/s2_s0.4_T10_nodrop.safetensors")


@pytest.fixture(scope="module")
def backbone() -> LatentBackbone:
    return load_backbone(str(PARITY / "s2prest/tiny/tiny.ckpt"), device="cpu", dtype="fp32")


@pytest.fixture(scope="module")
def method(backbone: LatentBackbone) -> S2PreST:
    """Not at module level: the settings refuse an edge picture that is not there."""
    asked = S2PreST(compat="original", steps=10, strength=0.4, edges=str(PARITY / "s2prest/canny.png"))
    return asked.settled(backbone)


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
def prepared(method: S2PreST, backbone: LatentBackbone, style: Style) -> Prepared:
    content = open_picture(of_size(SIZES["content"]))
    with torch.no_grad():
        return method.prepare(content, SIDE, style, backbone, 42, Memory())


@pytest.fixture(scope="module")
def conditions(method: S2PreST, prepared: Prepared, backbone: LatentBackbone, style: Style) -> Conditions:
    with torch.no_grad():
        return method.conditions(prepared, style, backbone, Memory())


@pytest.fixture(scope="module")
def start(method: S2PreST, prepared: Prepared, conditions: Conditions, backbone: LatentBackbone) -> Start:
    with torch.no_grad():
        return method.start(
            prepared, conditions, method.arithmetic.entry(backbone, 10, 0.4), backbone, Memory(), Silent()
        )


def test_seed_42_draws_the_recorded_noises(prepared: Prepared, recorded: dict[str, Tensor]) -> None:
    draws = prepared.draws
    for ours, name in (
        (draws.style_posterior, "posterior.style"),
        (draws.content_posterior, "posterior.content"),
        (draws.edges_posterior, "posterior.canny"),
        (draws.content, "q_sample.0"),
        (draws.edges, "q_sample.1"),
    ):
        assert ours is not None and torch.equal(ours, recorded[f"noise.{name}"])


def test_clip_sees_what_the_published_cast_leaves(prepared: Prepared, recorded: dict[str, Tensor]) -> None:
    assert off(prepared.sees_content, recorded["clip.image_embeds.4"]) < 1e-5
    assert off(prepared.sees_edges, recorded["clip.image_embeds.5"]) < 1e-5


def test_latents_of_content_edges_and_style(prepared: Prepared, recorded: dict[str, Tensor]) -> None:
    assert off(prepared.z_content, recorded["z.content"]) < 1e-5
    assert off(prepared.z_edges, recorded["z.canny"]) < 1e-5
    assert off(prepared.z_style, recorded["z.style"]) < 1e-5


def test_conditions(method: S2PreST, conditions: Conditions, recorded: dict[str, Tensor]) -> None:
    assert off(conditions.content.states, recorded["cond.4"]) < 1e-5
    assert off(conditions.edges.states, recorded["cond.5"]) < 1e-5
    assert off(conditions.style.states, recorded["cond.3"]) < 1e-5
    assert off(conditions.without.states, recorded["sampling.u"]) < 1e-5
    assert off(method.condition(conditions).states, recorded["inversion.c"]) < 1e-5


def test_start_latent(start: Start, recorded: dict[str, Tensor]) -> None:
    assert off(start.mixed, recorded["z_mix"]) < 1e-5
    assert off(start.noisy, recorded["inversion.x"]) < 1e-5
    assert off(start.noise, recorded["inversion.eps_hat"]) < 1e-4
    assert off(start.latents, recorded["start_latent"]) < 1e-4


def test_the_whole_chain(
    method: S2PreST, start: Start, conditions: Conditions, backbone: LatentBackbone, recorded: dict[str, Tensor]
) -> None:
    entry = method.arithmetic.entry(backbone, 10, 0.4)
    assert (entry.timestep, entry.run) == (400, 4)
    with torch.no_grad():
        last = method.denoised(start.latents, conditions, entry, backbone, Silent())
        decoded = backbone.decode(last)
    assert (last - recorded["latent.last"]).abs().max() < 2e-4 * recorded["latent.last"].abs().max()
    png = np.asarray(method.arithmetic.image(decoded, SIZES["content"]))[::4, ::4].astype(int)
    assert np.abs(png - recorded["final_png.every4"].numpy().astype(int)).max() <= 1
