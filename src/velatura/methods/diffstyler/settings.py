"""Settings of DiffStyler, and which of them go together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from velatura.errors import SettingError
from velatura.methods.base import Method, with_recommended
from velatura.methods.diffstyler.fitting import FitSettings
from velatura.methods.diffstyler.injection import Schedule
from velatura.methods.validation import check_shares
from velatura.models.backbone import Backbone
from velatura.models.noise_schedule import steps_of_strength
from velatura.picture.sizing import check_size

if TYPE_CHECKING:
    from typing_extensions import Self  # in typing itself from Python 3.11 on

FUSIONS = ("full", "adaptive")
SOURCES = ("recorded", "walked")
NEGATIVE_PROMPT = "ugly, blurry, black, low res, unrealistic"
PUBLISHED = {"guidance_scale": 10.5}  # the paper's values of what a model's folder may recommend otherwise


@dataclass(frozen=True)
class DiffStylerSettings(FitSettings, Method):
    """Settings of DiffStyler; the numbers are the paper's but where it is said.

    ``steps`` is the number of sampling steps (the paper's is 50: with an inversion that leads back, more than 20
    changed nothing).
    ``strength`` (0..1) is the share of ``steps`` that is inverted and denoised again. ``prompt`` (empty: the one that
    the style was fitted under) and ``negative_prompt`` guide with ``guidance_scale`` (0: what the model's folder
    recommends, or the paper's 10.5). The source's features go in for the first ``feature_share`` of the steps, its
    self-attention for the first ``attention_share`` (the paper's is 0.5), wholly
    (``fusion`` "full") or with r = min(1, 2t/T) ("adaptive"). ``corrections`` are fixed-point iterations of
    each inversion step. ``source`` "recorded" keeps while inverting what is injected later; "walked" takes a pass a
    step for it, which also measures how well the inversion leads back. ``feather`` softens masks over so many pixels.
    ``start_adain`` (0..1) brings the start latent's channel statistics towards those of the style picture's own
    inversion, which the fit kept (a LoRA from elsewhere has none, and changes nothing);
    ``start_mix`` (0..1) mixes that inversion itself in, within the region. ``size`` is the working length
    of the short side in pixels (0: the model's native size).
    Raises SettingError for values out of range and unknown names.
    """

    steps: int = 20
    strength: float = 1.0
    guidance_scale: float = 0.0
    prompt: str = ""
    negative_prompt: str = NEGATIVE_PROMPT
    feature_share: float = 0.8
    attention_share: float = 0.8
    fusion: str = "full"
    corrections: int = 1
    source: str = "recorded"
    feather: float = 0.0
    start_adain: float = 0.25
    start_mix: float = 0.0
    size: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_shares(self, "feature_share", "attention_share", "start_adain", "start_mix")
        if self.fusion not in FUSIONS:
            raise SettingError(f"The fusion must be {' or '.join(FUSIONS)}, not '{self.fusion}'.")
        if self.source not in SOURCES:
            raise SettingError(f"The source must be {' or '.join(SOURCES)}, not '{self.source}'.")
        if self.corrections < 0 or self.feather < 0:
            raise SettingError("corrections and feather must not be negative.")
        check_size(self.size)
        steps_of_strength(self.steps, self.strength)

    @property
    def schedule(self) -> Schedule:
        """When and how much is injected."""
        return Schedule(self.feature_share, self.attention_share, self.fusion)

    def resolved(self, backbone: Backbone) -> Self:
        """With what the model recommends, or else the paper's values, where nothing was set."""
        return with_recommended(self, PUBLISHED, backbone.recommended_settings)
