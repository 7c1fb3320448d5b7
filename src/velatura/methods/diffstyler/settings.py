"""Settings of DiffStyler, and which of them go together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

from velatura.diffusion.guidance_scaling import PLAIN, GuidanceScaling
from velatura.methods.diffstyler.fitting import FitSettings
from velatura.methods.diffstyler.injection import Schedule
from velatura.methods.recommendations import with_recommended
from velatura.methods.regional import RegionalMethod
from velatura.methods.strokes.last import LastStrokes
from velatura.methods.validation import UNSET, Choices, Corrections, GuidanceScale, Range, Share, Side, Steps
from velatura.models.backbone import Backbone
from velatura.style import Style

if TYPE_CHECKING:
    from typing_extensions import Self  # in typing itself from Python 3.11 on

FUSIONS = ("full", "adaptive")
SOURCES = ("recorded", "walked")
NEGATIVE_PROMPT = "ugly, blurry, black, low res, unrealistic"
# The paper's values of what a model's folder may recommend otherwise.
PUBLISHED: Mapping[str, float | str] = {"guidance_scale": 10.5, "guidance_scaling": PLAIN}


@dataclass(frozen=True)
class DiffStylerSettings(FitSettings, LastStrokes, RegionalMethod):
    """Settings of DiffStyler, and that of ``LastStrokes``; the numbers are the paper's but where it is said.

    ``steps`` is the number of sampling steps (the paper's is 50: with an inversion that leads back, more than 20
    changed nothing).
    ``strength`` (0..1) is the share of ``steps`` that is inverted and denoised again.
    ``prompt`` guides the run (empty: the one that the style was fitted under).
    ``negative_prompt`` is what guidance leads away from.
    ``guidance_scale`` is that of guidance by the prompt (0: what the model's folder recommends, or the paper's 10.5).
    ``guidance_scaling`` changes guidance over 1: "plain", or as "limit=0.3,interval=0:0.9" (docs/guidance.md); empty is
    what the model's folder recommends, or plain.
    ``feature_share`` is for which share of the steps, the first, the source's features go in.
    ``attention_share`` is that for its self-attention (the paper's is 0.5).
    ``fusion`` says how they go in: wholly ("full") or with r = min(1, 2t/T) ("adaptive").
    ``corrections`` are fixed-point iterations of each inversion step.
    ``source`` "recorded" keeps while inverting what is injected later; "walked" takes a pass a step for it, which
    also measures how well the inversion leads back.
    ``feather`` softens masks over so many pixels. ``palette`` (0..1) is how far the content's colours are moved to
    each style's before all else, and the result's once
    more (less below strength 0.5). ``hold`` (0..1) is how much of the coarse forms and tones, those over some 20 pixels
    of the working size, is the recoloured content's after each step.
    ``start_adain`` (0..1) brings the start latent's channel statistics towards those of the style picture's own
    inversion, which the fit kept (a LoRA from elsewhere has none, and changes nothing).
    ``start_mix`` (0..1) mixes that inversion itself in, within the region. ``size`` is the working length
    of the short side in pixels (0: the model's native size).
    Raises SettingError for values out of range and unknown names.
    """

    steps: Steps = 20
    strength: Share = 1.0
    guidance_scale: GuidanceScale = 0.0
    guidance_scaling: str = ""
    prompt: str = ""
    negative_prompt: str = NEGATIVE_PROMPT
    feature_share: Share = 0.8
    attention_share: Share = 0.8
    fusion: Annotated[str, Choices(FUSIONS)] = "full"
    corrections: Corrections = 1
    source: Annotated[str, Choices(SOURCES)] = "recorded"
    feather: Annotated[float, Range(0, 1000)] = 0.0
    palette: Share = 1.0
    hold: Share = 0.5
    start_adain: Share = 0.0
    start_mix: Share = 0.0
    size: Side = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        GuidanceScaling.parse(self.guidance_scaling)

    @property
    def inverts(self) -> bool:
        """Always: the photo is inverted, and its features held on the way back."""
        return True

    @property
    def schedule(self) -> Schedule:
        """When and how much is injected."""
        return Schedule(self.feature_share, self.attention_share, self.fusion)

    def resolved(self, backbone: Backbone, styles: Sequence[Style] = ()) -> Self:
        """With what the model recommends, or else the paper's values, where nothing was set."""
        advice = self.advice_of(backbone)
        strokes = float(advice.get("strokes", 0.0)) if self.strokes == UNSET else self.strokes
        return with_recommended(replace(self, strokes=strokes), PUBLISHED, advice)
