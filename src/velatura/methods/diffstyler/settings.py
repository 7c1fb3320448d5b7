"""Settings of DiffStyler, and which of them go together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from velatura.diffusion.injection import Schedule
from velatura.diffusion.schedules import steps_of_strength
from velatura.errors import SettingError
from velatura.methods.base import settled_by
from velatura.methods.checks import check_shares
from velatura.methods.diffstyler.fitting import FitSettings
from velatura.models.backbone import Backbone
from velatura.picture.sizing import check_size

if TYPE_CHECKING:
    from typing_extensions import Self  # in typing itself from Python 3.11 on

PUBLISHED_STEPS, USUAL_STEPS = 50, 20
PUBLISHED = {"guidance_scale": 10.5}  # what a model's folder may advise otherwise


@dataclass(frozen=True)
class DiffStylerSettings(FitSettings):
    """Settings of DiffStyler; the numbers are the paper's but where it is said.

    ``steps`` 0 means 20, and under compat the paper's 50: with an inversion that leads back, more changed nothing.
    ``strength`` (0..1) is the share of ``steps`` that is inverted and denoised again. ``prompt`` (empty: the one that
    the style was fitted under) and ``negative_prompt`` guide with ``guidance_scale`` (0: what the model's folder
    advises, or the paper's 10.5). The source's features go in for the first ``feature_share`` of the steps, its
    self-attention for the first ``attention_share`` (the paper's is 0.5), wholly
    (``fusion`` "full") or with r = min(1, 2t/1000) ("adaptive"). ``corrections`` are fixed-point iterations of
    each inversion step. ``source`` "recorded" keeps while inverting what is injected later; "walked" takes a pass a
    step for it, which also measures how well the inversion leads back. ``feather`` softens masks over so many pixels.
    ``start_adain`` (0..1) brings the start latent's channel statistics towards those of the style picture's own
    inversion, which the fit kept (a LoRA from elsewhere has none, and changes nothing);
    ``start_mix`` (0..1) mixes that inversion itself in, within the region. ``size`` is the working length
    of the short side (0: the model's native size). ``compat`` "original" repeats the published arithmetic.
    """

    steps: int = 0
    strength: float = 1.0
    guidance_scale: float = 0.0
    prompt: str = ""
    negative_prompt: str = "ugly, blurry, black, low res, unrealistic"
    feature_share: float = 0.8
    attention_share: float = 0.8
    fusion: str = "full"
    corrections: int = 1
    source: str = "recorded"
    feather: float = 0.0
    start_adain: float = 0.25
    start_mix: float = 0.0
    size: int = 0
    compat: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_shares(self, "feature_share", "attention_share", "start_adain", "start_mix")
        if self.fusion not in ("full", "adaptive"):
            raise SettingError(f"The fusion must be full or adaptive, not '{self.fusion}'.")
        if self.source not in ("recorded", "walked"):
            raise SettingError(f"The source must be recorded or walked, not '{self.source}'.")
        if self.compat not in ("", "original"):
            raise SettingError(f"compat must be 'original' or empty, not '{self.compat}'.")
        if self.corrections < 0 or self.feather < 0:
            raise SettingError("corrections and feather must not be negative.")
        check_size(self.size)
        steps_of_strength(self.steps_taken, self.strength)

    @property
    def steps_taken(self) -> int:
        """The number of sampling steps."""
        return self.steps or (PUBLISHED_STEPS if self.compat else USUAL_STEPS)

    @property
    def schedule(self) -> Schedule:
        """When and how much is injected."""
        return Schedule(self.feature_share, self.attention_share, self.fusion)

    def settled(self, backbone: Backbone) -> Self:
        """With what the model advises where nothing was asked for, or with the paper's; under compat the paper's."""
        return settled_by(self, PUBLISHED, {} if self.compat else backbone.advised)
