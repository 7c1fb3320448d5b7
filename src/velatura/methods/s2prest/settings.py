"""Settings of S2PreST, and which of them go together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from velatura.diffusion.samplers import SAMPLERS
from velatura.errors import SettingError
from velatura.methods.base import Method, with_recommended
from velatura.methods.s2prest.edges import EDGE_SCHEDULES, EDGE_SOURCES
from velatura.methods.s2prest.fitting import FitSettings
from velatura.methods.validation import Choices, GuidanceScale, Share, Side, Steps
from velatura.models.backbone import PLACEHOLDER, Backbone

if TYPE_CHECKING:
    from typing_extensions import Self  # in typing itself from Python 3.11 on

INVERSIONS = ("stochastic", "ddim")
# The paper's values of what a model's folder may recommend otherwise.
PUBLISHED: Mapping[str, float | str] = {"guidance_scale": 10.0, "inversion": "stochastic", "prompt": PLACEHOLDER}


@dataclass(frozen=True)
class S2PreSTSettings(FitSettings, Method):
    """Settings of S2PreST; the defaults are the paper's.

    ``strength`` (0..1, its "style guidance weight") is the share of ``steps`` that is run. ``guidance_scale`` 0 is what
    the model's folder recommends, or the paper's 10.
    ``content_condition``, ``edge_condition`` and ``style_condition`` mix c_C, c_K and c_S; they sum to 1.
    ``edge_schedule`` keeps the edge condition ("constant"), hands it over to the content's while denoising
    ("falling"), or lets it come ("rising"). ``edge_noise`` is the share of the noised edges in the latent that
    the noise is estimated in, ``style_latent`` that of z_S in the start latent, ``adain`` (0..1) how far z_C takes
    the channel statistics of z_S first (1 in InST's notebook).
    ``edges`` is canny, hed, none, or the path of an edge picture; ``edge_threshold`` over 0 keeps only the Canny
    edges above it (and those connected to them above half of it), in full black.
    ``inversion`` "stochastic" predicts the noise in the noised mix of content and edges in one call (the paper's);
    "ddim" inverts the clean mix step by step, which keeps far more of the content on a small model; empty is what
    the model's folder recommends, or the paper's.
    ``prompt`` holds "*"; empty is what the model's folder recommends, or the paper's "*" alone. ``negative_prompt`` is
    what guidance leads away from. ``sampler`` denoises: "ddim", "ddpm" (ancestral), "dpmsolver++", "unipc" or "euler".
    ``size`` is the working length of the short side (0: the model's native size).
    Raises SettingError for values out of range, unknown names, and a prompt without "*".
    """

    steps: Steps = 50
    strength: Share = 0.4
    guidance_scale: GuidanceScale = 0.0
    prompt: str = ""
    negative_prompt: str = ""
    content_condition: Share = 0.5
    edge_condition: Share = 0.5
    style_condition: Share = 0.0
    edge_schedule: Annotated[str, Choices(EDGE_SCHEDULES)] = "constant"
    edge_noise: Share = 0.5
    style_latent: Share = 0.3
    adain: Share = 0.0
    edges: str = "canny"
    edge_threshold: Share = 0.0
    inversion: Annotated[str, Choices(INVERSIONS, or_empty=True)] = ""
    size: Side = 0
    sampler: Annotated[str, Choices(tuple(SAMPLERS))] = "ddim"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_conditions()
        self._check_names()

    def _check_conditions(self) -> None:
        shares = (self.content_condition, self.edge_condition, self.style_condition)
        if abs(sum(shares) - 1) > 1e-6:
            raise SettingError(
                f"content_condition, edge_condition and style_condition must sum to 1, not to {sum(shares):g}."
            )
        if self.prompt and PLACEHOLDER not in self.prompt:
            raise SettingError(
                f"The prompt '{self.prompt}' lacks the placeholder {PLACEHOLDER}: "
                f"write for example 'a portrait of a woman in the style of {PLACEHOLDER}'."
            )

    def _check_names(self) -> None:
        if self.edges not in EDGE_SOURCES and not Path(self.edges).is_file():
            raise SettingError(f"edges must be {', '.join(EDGE_SOURCES)} or an edge picture, not '{self.edges}'.")

    def resolved(self, backbone: Backbone) -> Self:
        """With what the model recommends, or else the paper's values, where nothing was set."""
        return with_recommended(self, PUBLISHED, backbone.recommended_settings)
