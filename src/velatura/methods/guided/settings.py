"""Settings of loss-guided diffusion, and which of them go together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from velatura.diffusion.schedules import steps_of_strength
from velatura.errors import SettingError
from velatura.losses import check_losses
from velatura.methods.checks import check_shares
from velatura.methods.guided.published import check_published
from velatura.methods.guided.steering import LOOKS, SCALES
from velatura.models.backbone import PLACEHOLDER
from velatura.picture.sizing import check_size

DEFAULT_WEIGHTS: Mapping[str, float] = {"mse": 0.3, "vgg": 0.5, "texture": 3.0, "palette": 6.0, "range": 1.0}


@dataclass(frozen=True)
class GuidedSettings:
    """Settings of loss-guided diffusion.

    ``strength`` (0..1) is the share of ``steps`` that is inverted or noised, then denoised again.
    ``start`` is "inversion" (DDIM, ``corrections`` fixed-point iterations a step) or "noise".
    ``weights`` are those of the losses, ``spans`` the parts (from, to) of the run in which they count.
    ``gradient`` "x0" moves the clean estimate and keeps the noise, "unet" moves the noise by the gradient through the
    network, whose activations are "kept" or, for less memory, "recomputed" (``activations``).
    ``look`` says what the losses see: the "clean" estimate, or its "blend" with x_t that ZeCon takes; made no larger
    than ``sight`` (short side in pixels; 0: as it is): finer than that the model paints as it likes. The feature
    network looks through one square window a step, each in its turn; its side is ``window`` (above 0 to 1: at
    everything) of the working short side, so that the losses stay the same part of a step.
    ``scale`` "rms" makes each push as long as ``force``, "clipped" at most so long, "raw" leaves it to the weights;
    ``inner`` pushes share a step. ``sampler`` is "ddpm" (ancestral), "ddim", where ``eta`` (0..1) mixes in fresh noise,
    "dpmsolver++", "unipc" or "euler".
    ``palette`` (0..1) is how far the content's colours are moved to the style's mean and covariance before all else,
    and the result's once more (less below strength 0.5, so that a small strength is a small change).
    ``prompt`` with "*" puts the style picture's own word there where the model has learned such words.
    ``size`` is the working length of the short side in pixels (0: the content's own, at least 384 and the
    model's native size, at most 512). ``compat`` "original" runs ZeCon's own loop on an ADM.
    """

    steps: int = 40
    strength: float = 0.6
    guidance_scale: float = 1.2
    prompt: str = f"a painting in the style of {PLACEHOLDER}"
    negative_prompt: str = ""
    start: str = "inversion"
    corrections: int = 0
    gradient: str = "x0"
    activations: str = "kept"
    look: str = "clean"
    sight: int = 256
    window: float = 0.4375
    scale: str = "rms"
    force: float = 0.25
    palette: float = 1.0
    inner: int = 1
    eta: float = 0.0
    sampler: str = "ddim"
    size: int = 0
    compat: str = ""
    weights: Mapping[str, float] = field(default_factory=lambda: dict(DEFAULT_WEIGHTS))
    spans: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        choices = {
            "start": ("inversion", "noise"),
            "gradient": ("x0", "unet"),
            "activations": ("kept", "recomputed"),
            "look": tuple(LOOKS),
            "scale": tuple(SCALES),
            "compat": ("", "original"),
        }
        for setting, allowed in choices.items():
            if getattr(self, setting) not in allowed:
                offered = " or ".join(choice or "empty" for choice in allowed)
                raise SettingError(f"{setting} must be {offered}, not '{getattr(self, setting)}'.")
        if self.inner < 1 or self.corrections < 0 or self.force < 0:
            raise SettingError("inner must be at least 1, corrections and force must not be negative.")
        check_shares(self, "palette", "eta")
        if not 0 < self.window <= 1:
            raise SettingError(f"window must be above 0 and at most 1, not {self.window:g}.")
        if self.eta and self.sampler != "ddim":
            raise SettingError(f"eta is a setting of the ddim sampler, not of {self.sampler}.")
        check_losses(self.weights, self.spans)
        if self.compat:
            check_published(self.weights)
        check_size(self.size)
        check_size(self.sight)
        steps_of_strength(self.steps, self.strength)

    @property
    def fitted_by(self) -> Mapping[str, Any]:
        return {"size": self.size}
