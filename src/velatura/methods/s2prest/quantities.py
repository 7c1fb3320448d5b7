"""The quantities of a run of S2PreST, in the paper's letters: C content, K edges, S style, z latents, e embeddings."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from velatura.models.backbone import Conditioning
from velatura.models.noise_schedule import add_noise


@dataclass(frozen=True)
class Noises:
    """Everything random about one content, each (1, C, h, w).

    ``content`` and ``edges`` are the noises of the two forward noisings. The others are those of the autoencoder's
    posteriors, whose means are taken where they are None.
    """

    content: Tensor
    edges: Tensor
    style_posterior: Tensor | None = None
    content_posterior: Tensor | None = None
    edges_posterior: Tensor | None = None


@dataclass(frozen=True)
class Entry:
    """Where a run enters: the training timestep of the noise estimate, its abar, and the ``run`` steps that remain."""

    timestep: int
    abar: float
    run: int


@dataclass(frozen=True)
class ContentBatch:
    """What does not depend on the strength, of B contents of one size.

    The ``noises``, the same for all contents; latents ``z_content`` (after AdaIN), ``z_edges`` and ``z_style``,
    (B, C, h, w); image embeddings ``e_content`` and ``e_edges``, (B, E); the ``edges`` themselves, (B, 3, H, W).
    Without edges, ``edges`` is (B, 0), and latents and embeddings of the content stand for theirs.
    """

    noises: Noises
    z_content: Tensor
    z_edges: Tensor
    z_style: Tensor
    e_content: Tensor
    e_edges: Tensor
    edges: Tensor


@dataclass(frozen=True)
class Conditions:
    """The prompt's conditionings under the words v(C), v(K), v(S): c_C, c_K, c_S; and u, the negative prompt's."""

    content: Conditioning
    edges: Conditioning
    style: Conditioning
    unconditional: Conditioning


@dataclass(frozen=True)
class Start:
    """The start latent and what it is made of: z_mix, the noised x, the noise in it; all (B, C, h, w)."""

    mixed: Tensor
    noisy: Tensor
    noise: Tensor
    latents: Tensor


def noised_mix(batch: ContentBatch, abar: float, share: float) -> Tensor:
    """x = (1 - share) q(z_C) + share q(z_K), with q the forward noising to level ``abar``."""
    q_content = add_noise(batch.z_content, batch.noises.content, abar)
    q_edges = add_noise(batch.z_edges, batch.noises.edges, abar)
    return (1 - share) * q_content + share * q_edges
