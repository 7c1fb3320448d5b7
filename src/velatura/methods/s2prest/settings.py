"""Settings of S2PreST, and which of them go together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from velatura.diffusion.schedules import steps_of_strength
from velatura.errors import SettingError
from velatura.methods.base import settled_by
from velatura.methods.checks import check_shares
from velatura.methods.s2prest.arithmetic import ARITHMETICS
from velatura.methods.s2prest.fitting import FitSettings
from velatura.models.backbone import PLACEHOLDER, Backbone
from velatura.picture.sizing import check_size

if TYPE_CHECKING:
    from typing_extensions import Self  # in typing itself from Python 3.11 on

EDGE_SOURCES = ("canny", "hed", "none")
INVERSIONS = ("stochastic", "ddim")
EDGE_SCHEDULES = ("constant", "falling", "rising")
# What a model's folder may advise otherwise.
PUBLISHED = {"guidance_scale": 10.0, "inversion": "stochastic", "prompt": PLACEHOLDER}


@dataclass(frozen=True)
class S2PreSTSettings(FitSettings):
    """Settings of S2PreST; the defaults are the paper's.

    ``strength`` (0..1, its "style guidance weight") is the share of ``steps`` that is run. ``guidance_scale`` 0 is what
    the model's folder advises, or the paper's 10.
    ``content_condition``, ``edge_condition`` and ``style_condition`` mix c_C, c_K and c_S; they sum to 1.
    ``edge_schedule`` keeps the edge condition ("constant"), hands it over to the content's while denoising
    ("falling"), or lets it come ("rising"). ``edge_noise`` is the share of the noised edges in the latent that
    the noise is estimated in, ``style_latent`` that of z_S in the start latent, ``adain`` (0..1) how far z_C takes
    the channel statistics of z_S first (1 in InST's notebook).
    ``edges`` is canny, hed, none, or the path of an edge picture; ``edge_threshold`` over 0 keeps only the Canny
    edges above it (and those connected to them above half of it), in full black.
    ``inversion`` "stochastic" takes the noise that the model sees in the noised mix of content and edges, in one
    call (the paper's, and compat's); "ddim" walks to it from the same mix, which keeps far more of the content on a
    small model; empty is what the model's folder advises, or the paper's.
    ``prompt`` holds "*"; empty is what the model's folder advises, or the paper's "*" alone. ``negative_prompt`` is
    what guidance leads away from. ``size`` is the working length of the short side (0: the model's native size).
    ``compat`` "original" repeats the published arithmetic.
    """

    steps: int = 50
    strength: float = 0.4
    guidance_scale: float = 0.0
    prompt: str = ""
    negative_prompt: str = ""
    content_condition: float = 0.5
    edge_condition: float = 0.5
    style_condition: float = 0.0
    edge_schedule: str = "constant"
    edge_noise: float = 0.5
    style_latent: float = 0.3
    adain: float = 0.0
    edges: str = "canny"
    edge_threshold: float = 0.0
    inversion: str = ""
    size: int = 0
    sampler: str = "ddim"
    compat: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        shares = (self.content_condition, self.edge_condition, self.style_condition)
        if abs(sum(shares) - 1) > 1e-6 or min(shares) < 0:
            raise SettingError(
                "content_condition, edge_condition and style_condition must not be negative and sum to 1, not to "
                f"{sum(shares):g}."
            )
        check_shares(self, "edge_noise", "style_latent", "adain", "edge_threshold")
        if self.edge_schedule not in EDGE_SCHEDULES:
            raise SettingError(f"The edge_schedule must be {', '.join(EDGE_SCHEDULES)}, not '{self.edge_schedule}'.")
        if self.edges not in EDGE_SOURCES and not Path(self.edges).is_file():
            raise SettingError(f"edges must be {', '.join(EDGE_SOURCES)} or an edge picture, not '{self.edges}'.")
        if self.inversion and self.inversion not in INVERSIONS:
            raise SettingError(f"The inversion must be {' or '.join(INVERSIONS)}, not '{self.inversion}'.")
        if self.compat not in ARITHMETICS:
            raise SettingError(f"compat must be 'original' or empty, not '{self.compat}'.")
        if self.prompt and PLACEHOLDER not in self.prompt:
            raise SettingError(
                f"The prompt '{self.prompt}' lacks the placeholder {PLACEHOLDER}: "
                f"write for example 'a portrait of a woman in the style of {PLACEHOLDER}'."
            )
        check_size(self.size)
        steps_of_strength(self.steps, self.strength)

    def settled(self, backbone: Backbone) -> Self:
        """With what the model advises where nothing was asked for, or with the paper's; under compat the paper's."""
        if self.compat:
            return settled_by(replace(self, inversion=""), PUBLISHED, {})
        return settled_by(self, PUBLISHED, backbone.advised)
