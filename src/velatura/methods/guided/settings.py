"""Settings of loss-guided diffusion, and which of them go together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from velatura.diffusion.cached_inversion import DDIM, INVERSIONS
from velatura.diffusion.guidance_scaling import GuidanceScaling
from velatura.diffusion.samplers import SAMPLERS
from velatura.errors import SettingError
from velatura.losses import COLOUR_LOSSES, check_losses
from velatura.methods.fast_painting import Painting
from velatura.methods.guided.steering import GRADIENT_SCALES, GRADIENTS, LOSS_INPUTS
from velatura.methods.regional import RegionalMethod
from velatura.methods.validation import Choices, Corrections, GuidanceScale, Range, Share, Side, Steps, changed
from velatura.models.backbone import PLACEHOLDER
from velatura.models.noise_schedule import steps_of_strength
from velatura.span import Span

if TYPE_CHECKING:
    from typing_extensions import Self  # in typing itself from Python 3.11 on

INVERSION, NOISE, FAST = STARTS = ("inversion", "noise", "fast")  # what a run starts from
# Of ``strength``, where a run starts from a painting: the levels that it is painted from, and those that are run.
PAINTED, REFINED = 4 / 3, 5 / 12
DEFAULT_WEIGHTS: Mapping[str, float] = {
    "mse_rgb": 1.5,
    "vgg": 0.5,
    "structure": 4.0,
    "texture": 6.0,
    "palette": 3.0,
    "range": 1.0,
}


@dataclass(frozen=True)
class GuidedSettings(RegionalMethod):
    """Settings of loss-guided diffusion.

    ``steps`` is how many steps the whole way from noise to picture would have; more are finer and take longer.
    ``strength`` (0..1) is the share of ``steps`` that is inverted or noised, then denoised again. With ``start`` "fast"
    it is painted from 4/3 of it, and 5/12 of it are inverted and denoised.
    ``start`` is "inversion", which keeps the photo's forms, "noise", drawn from the seed, or "fast": an inversion of
    what the method fast paints of the photo, from which fewer steps do (house only). Empty is what the model's folder
    recommends for style pictures, or "inversion".
    ``inversion`` is "ddim", or "rf-solver", of second order, which goes with the sampler of that name.
    ``corrections`` are fixed-point iterations in each step of the "ddim" inversion, which make it lead back more
    exactly.
    ``weights`` are those of the losses, by name.
    ``spans`` are the parts of the run in which losses count, by the loss's name.
    ``gradient`` "x0" stops at the x0 estimate, moves it and keeps the noise; "unet" moves the noise by the gradient
    through the network.
    ``activations`` says what becomes of the network's activations under ``gradient`` "unet": "kept" or, for less
    memory, "recomputed".
    ``loss_input`` is what the losses compare: the decoded "x0" estimate, or ZeCon's "blend" of it with x_t.
    ``loss_resolution`` is the short side in pixels of what the losses compare, at most (0: as it is), so that finer
    strokes are left to the model.
    ``crop`` (above 0 to 1: everything) is the side of the square that the feature network gets in each step, relative
    to the working short side; crops take turns, so that they cover the picture.
    ``gradient_scale`` "rms" gives each push on the noise an rms of ``guidance_rms``, "clipped" at most that, "raw"
    leaves it to the weights; "auto" is "raw" on a model of pixels and "rms" on a latent one, for weights that were
    published for pixels.
    ``guidance_rms`` is how strong the push of a step is, unless ``gradient_scale`` is "raw".
    ``gradient_steps`` is how many pushes a step has, which share ``guidance_rms``.
    ``sampler`` is "ddim", "ddpm" (ancestral; with the learned variance of an ADM), "dpmsolver++", "unipc", "euler" or
    "rf-solver" (two passes a step), or "lcm" or "euler-trailing" for models of few steps.
    ``eta`` (0..1) is how much fresh noise the sampler "ddim" mixes in.
    ``palette`` (0..1) is how far the content's colours are moved to the style's palette before all else, and the
    result's once more (less below strength 0.5: a small strength is a small change).
    ``contrast`` (0..1) is how far, before the palette, the content's contrast in bands from fine to coarse is moved to
    the style's, which makes lines for a drawing (less below strength 0.5).
    ``sharpness`` (0..1) is how much of the detail that the autoencoder loses of the start is put back into the result
    (less below strength 0.5).
    ``strokes`` (0..1) is the share of the stroke network, where the model brings one, in a start that is painted.
    ``flat_push`` (0..1) is how much of the push through features and colours reaches flat places, such as skies; below
    1 what reaches them is smooth.
    ``guidance_scale`` is that of classifier-free guidance by the prompt, away from ``negative_prompt``.
    ``guidance_scaling`` changes guidance over 1: "plain", or as "limit=0.3,interval=0:0.9" (docs/guidance.md); empty is
    what the model's folder recommends, or plain.
    ``prompt`` says what the result is; "*" in it is the style picture's own word, where the model reads pictures as
    words.
    ``negative_prompt`` is what guidance leads away from.
    ``size`` is the working length of the short side in pixels (0: the content's own, at least 384 and the model's
    native size, at most 512).

    Raises SettingError for values outside these ranges.
    """

    to_start_from_noise: ClassVar[str] = "start=noise"
    renamed: ClassVar[Mapping[str, str]] = {
        "look": "loss_input",
        "sight": "loss_resolution",
        "window": "crop",
        "scale": "gradient_scale",
        "force": "guidance_rms",
        "inner": "gradient_steps",
    }
    renamed_values: ClassVar[Mapping[str, Mapping[str, str]]] = {"loss_input": {"clean": "x0"}}

    steps: Steps = 40
    strength: Share = 0.6
    guidance_scale: GuidanceScale = 1.2
    guidance_scaling: str = ""
    prompt: str = f"a painting in the style of {PLACEHOLDER}"
    negative_prompt: str = ""
    start: Annotated[str, Choices(STARTS, or_empty=True)] = ""
    inversion: Annotated[str, Choices(INVERSIONS)] = DDIM
    corrections: Corrections = 0
    gradient: Annotated[str, Choices(tuple(GRADIENTS))] = "x0"
    activations: Annotated[str, Choices(("kept", "recomputed"))] = "kept"
    loss_input: Annotated[str, Choices(tuple(LOSS_INPUTS))] = "x0"
    loss_resolution: Side = 256
    crop: Annotated[float, Range(0, 1, open=True)] = 1.0
    gradient_scale: Annotated[str, Choices((*GRADIENT_SCALES, "auto"))] = "rms"
    guidance_rms: Annotated[float, Range(0, 100)] = 0.25
    palette: Share = 1.0
    contrast: Share = 1.0
    sharpness: Share = 0.3
    strokes: Share = 0.5
    flat_push: Share = 0.15
    gradient_steps: Annotated[int, Range(1, 100)] = 1
    eta: Share = 0.0
    sampler: Annotated[str, Choices(tuple(SAMPLERS))] = "ddim"
    size: Side = 0
    weights: Mapping[str, float] = field(default_factory=lambda: dict(DEFAULT_WEIGHTS))
    spans: Mapping[str, Span] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.eta and self.sampler != "ddim":
            raise SettingError(f"eta is a setting of the ddim sampler, not of {self.sampler}.")
        if self.strokes and changed(self, ["strokes"]) and self.start not in ("", FAST):
            raise SettingError(f"strokes are a setting of start={FAST}, not of {self.start}.")
        if self.corrections and self.inversion != DDIM:
            raise SettingError(f"corrections are a setting of the ddim inversion, not of {self.inversion}.")
        check_losses(self.weights, self.spans)
        GuidanceScaling.parse(self.guidance_scaling)

    @property
    def fit_settings(self) -> Mapping[str, Any]:
        """The settings that a fit depends on: the size of the statistics."""
        return {"size": self.size}

    def in_asked_colours(self) -> Self:
        """With no more ``palette`` than the share of the style in ``colours``; without any of it, no colour losses."""
        chosen = super().in_asked_colours()
        if self.colour_share != 0:
            return chosen
        return replace(chosen, weights={**self.weights, **{name: 0.0 for name in COLOUR_LOSSES & set(self.weights)}})

    @property
    def inverts(self) -> bool:
        """Whether the run starts from an inversion."""
        return self.start != NOISE

    @property
    def run_steps(self) -> int:
        """How many of the ``steps`` are run."""
        share = REFINED if self.start == FAST else 1
        return steps_of_strength(self.steps, share * self.strength)

    @property
    def painting(self) -> Painting:
        """How a run that starts from a painting has it painted."""
        return Painting(min(1.0, PAINTED * self.strength))
