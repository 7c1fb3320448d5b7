"""Settings of S2PreST, and which of them go together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from velatura.diffusion.guidance_scaling import PLAIN, GuidanceScaling
from velatura.diffusion.samplers import SAMPLERS
from velatura.errors import SettingError
from velatura.methods.recommendations import with_recommended
from velatura.methods.s2prest.edges import EDGE_SCHEDULES, EDGE_SOURCES
from velatura.methods.s2prest.fitting import FitSettings
from velatura.methods.shared_settings import AS_MADE
from velatura.methods.strokes.last import LastStrokes
from velatura.methods.validation import UNSET, AdvisedShare, Choices, GuidanceScale, Share, Side, Steps
from velatura.models.backbone import PLACEHOLDER, Backbone
from velatura.models.recommended import RecommendedSettings, for_method
from velatura.style import Style

if TYPE_CHECKING:
    from typing_extensions import Self  # in typing itself from Python 3.11 on

INVERSIONS = ("stochastic", "ddim")
CONDITIONS = ("content_condition", "edge_condition", "style_condition")
# The papers' values of what a model's folder may recommend otherwise.
PUBLISHED: Mapping[str, float | str] = {
    "guidance_scale": 10.0,
    "guidance_scaling": PLAIN,
    "inversion": "stochastic",
    "prompt": PLACEHOLDER,
}
S2PREST_SHARES: Mapping[str, float] = {
    "strength": 0.4,
    "content_condition": 0.5,
    "edge_condition": 0.5,
    "style_condition": 0.0,
    "edge_noise": 0.5,
    "style_latent": 0.3,
    "adain": 0.0,
    "palette": 0.0,
    "final_adain": 0.0,
    "strokes": 0.0,
}
INST_SHARES: Mapping[str, float] = {
    "strength": 0.4,
    "content_condition": 0.0,
    "edge_condition": 0.0,
    "style_condition": 1.0,
    "edge_noise": 0.0,
    "style_latent": 0.0,
    "adain": 0.0,
    "palette": 0.0,
    "final_adain": 0.0,
    "strokes": 0.0,
}


def paper_preset(shares: Mapping[str, float]) -> Mapping[str, Any]:
    """All of a paper's values, so that nothing is left to the model's folder."""
    return {**PUBLISHED, **shares, "colours": AS_MADE}


@dataclass(frozen=True)
class S2PreSTSettings(FitSettings, LastStrokes):
    """Settings of S2PreST, and that of ``LastStrokes``; what is not set is what the model's folder recommends, or else
    the paper's (preset "paper").

    Shares that are not set are -1.
    ``steps`` is how many steps the whole way from noise to picture would have; more are finer and take longer.
    ``strength`` (0..1, the paper's "style guidance weight") is the share of ``steps`` that is run.
    ``guidance_scale`` is that of classifier-free guidance by the prompt; 0 is what the model's folder recommends, or
    the paper's 10.
    ``guidance_scaling`` changes guidance over 1: "plain", or as "limit=0.3,interval=0:0.9" (see ``GuidanceScaling``);
    empty is what the model's folder recommends, or plain.
    ``content_condition`` is the photo's share c_C of the condition; with ``edge_condition`` and ``style_condition`` it
    sums to 1, and where one of them is set, the others are the paper's unless they are set too.
    ``edge_condition`` is the share c_K of the photo's edges in the condition.
    ``style_condition`` is the style's share c_S of the condition.
    ``edge_schedule`` keeps the edge condition ("constant"), hands it over to the content's while denoising ("falling"),
    or lets it come ("rising").
    ``edge_noise`` is the share of the noised edges in the latent that the noise is estimated in.
    ``style_latent`` is the share of the style picture's latent z_S in the start latent.
    ``adain`` (0..1) is how far z_C takes the channel statistics of z_S first (1 in InST's notebook).
    ``palette`` (0..1) is how far the content's colours are moved to the style picture's before z_C is encoded (0 in the
    paper).
    ``final_adain`` (0..1) is how far the last latents take the channel statistics of z_S, which brings back the
    contrast of fine detail that denoising takes from them, and lose what was added to z_C of the autoencoder's grid (0
    in the paper).
    ``edges`` is canny, hed, none, or the path of an edge picture.
    ``edge_threshold`` over 0 keeps only the Canny edges above it (and those connected to them above half of it), in
    full black.
    ``inversion`` "stochastic" predicts the noise in the noised mix of content and edges in one call (the paper's);
    "ddim" inverts the clean mix step by step, which keeps far more of the content on a small model; empty is what the
    model's folder recommends, or the paper's.
    ``prompt`` holds "*"; empty is what the model's folder recommends, or the paper's "*" alone. ``negative_prompt`` is
    what guidance leads away from. ``sampler`` denoises: "ddim", "ddpm" (ancestral), "dpmsolver++", "unipc",
    "euler" or "rf-solver" (two passes a step), or "lcm" or "euler-trailing" for models of few steps.
    ``size`` is the working length of the short side (0: the model's native size).
    Raises SettingError for values out of range, unknown names, and a prompt without "*".
    """

    published_shares: ClassVar[Mapping[str, float]] = S2PREST_SHARES
    to_start_from_noise: ClassVar[str] = "inversion=stochastic"

    steps: Steps = 50
    strength: AdvisedShare = UNSET
    guidance_scale: GuidanceScale = 0.0
    guidance_scaling: str = ""
    prompt: str = ""
    negative_prompt: str = ""
    content_condition: AdvisedShare = UNSET
    edge_condition: AdvisedShare = UNSET
    style_condition: AdvisedShare = UNSET
    edge_schedule: Annotated[str, Choices(EDGE_SCHEDULES)] = "constant"
    edge_noise: AdvisedShare = UNSET
    style_latent: AdvisedShare = UNSET
    adain: AdvisedShare = UNSET
    palette: AdvisedShare = UNSET
    final_adain: AdvisedShare = UNSET
    edges: str = "canny"
    edge_threshold: Share = 0.0
    inversion: Annotated[str, Choices(INVERSIONS, or_empty=True)] = ""
    size: Side = 0
    sampler: Annotated[str, Choices(tuple(SAMPLERS))] = "ddim"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_conditions()
        self._check_names()
        GuidanceScaling.parse(self.guidance_scaling)

    @property
    def inverts(self) -> bool:
        """Whether the run starts from an inversion of the photo, step by step."""
        return self.inversion == "ddim"

    def _check_conditions(self) -> None:
        shares = self._conditions()
        if shares and abs(sum(shares.values()) - 1) > 1e-6:
            raise SettingError(
                f"content_condition, edge_condition and style_condition must sum to 1, not to {sum(shares.values()):g}."
            )
        if self.prompt and PLACEHOLDER not in self.prompt:
            raise SettingError(
                f"The prompt '{self.prompt}' lacks the placeholder {PLACEHOLDER}: "
                f"write for example 'a portrait of a woman in the style of {PLACEHOLDER}'."
            )

    def _check_names(self) -> None:
        if self.edges not in EDGE_SOURCES and not Path(self.edges).is_file():
            raise SettingError(f"edges must be {', '.join(EDGE_SOURCES)} or an edge picture, not '{self.edges}'.")

    def _conditions(self) -> dict[str, float]:
        """The three conditions' shares with the paper's where only some are set; empty where none is."""
        shares = {name: getattr(self, name) for name in CONDITIONS}
        if set(shares.values()) == {UNSET}:
            return {}
        return {name: self.published_shares[name] if share == UNSET else share for name, share in shares.items()}

    def resolved(self, backbone: Backbone, styles: Sequence[Style] = ()) -> Self:
        """With what the model recommends, or else the paper's values, where nothing was set."""
        return self.with_advice(self.advice_of(backbone))

    def with_advice(self, settings: RecommendedSettings) -> Self:
        """With what is recommended for this method, or else the paper's values, where nothing was set.

        Below a strength of 0.5 less of the style's palette and statistics is recommended, at 0 nothing: a small
        strength is a small change.
        """
        advice = for_method(self.name, settings)
        chosen: dict[str, Any] = {name: float(advice.get(name, value)) for name, value in self.published_shares.items()}
        chosen |= self._conditions()
        chosen |= {name: getattr(self, name) for name in chosen if getattr(self, name) != UNSET}
        part = min(1.0, 2 * chosen["strength"])
        for name in ("palette", "final_adain"):
            chosen[name] *= part if getattr(self, name) == UNSET else 1
        if self.colours == "" and "colours" in advice:
            chosen["colours"] = part * float(advice["colours"]) or AS_MADE
        return with_recommended(replace(self, **chosen), PUBLISHED, advice)
