"""Loss-guided diffusion: content and style losses steer a frozen model while it denoises.

After the poster "Image-Guided Image Style Transfer with Diffusion model", on a latent model: the losses look at
decode(x0_hat) (Bansal et al. 2023, arXiv 2302.07121), and the step's noise moves against their gradient.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from velatura.diffusion.guidance import classifier_free, conditional
from velatura.diffusion.inversion import Predict, invert
from velatura.diffusion.sampling import Moment, denoise, towards, unsteered
from velatura.diffusion.schedules import add_noise, clean_of, ddim_levels, make_sampler, steps_of_strength
from velatura.errors import SettingError
from velatura.losses import Objective, StyleStatistics, Targets, View, make_objective
from velatura.losses.colour import transport_colours
from velatura.losses.statistics import style_statistics
from velatura.losses.vgg import CONTENT_LAYER
from velatura.memory import Memory
from velatura.methods.base import Stylization, manifest_of, versions
from velatura.models.backbone import PLACEHOLDER, Backbone, Condition
from velatura.models.perceptual import VGG16Trunk, perceptual_trunk
from velatura.picture import Picture, Sizing, image_to_pixels, pixels_to_image, plan_size
from velatura.picture.sizing import check_size
from velatura.progress import Progress
from velatura.regions import Region, whole_style
from velatura.style import Style

DEFAULT_WEIGHTS: Mapping[str, float] = {"mse": 0.3, "vgg": 0.5, "gram": 6.0, "colour": 4.0, "range": 1.0}


# Below the first, the latent cells of 8 px show in the result; the second is what people wait for.
SMALLEST_USUAL_SIZE, LARGEST_USUAL_SIZE = 384, 512


def usual_sizing(size: tuple[int, int], asked: int, backbone: Backbone) -> Sizing:
    """The working size for a picture of ``size`` whose short side is to be ``asked`` (0: its own within limits)."""
    usual = max(backbone.native_size, SMALLEST_USUAL_SIZE, min(min(size), LARGEST_USUAL_SIZE))
    return plan_size(size, asked or usual, backbone.multiple)


@dataclass(frozen=True)
class Guided:
    """Settings of loss-guided diffusion.

    ``strength`` (0..1) is the share of ``steps`` that is inverted or noised, then denoised again.
    ``start`` is "inversion" (DDIM, ``corrections`` fixed-point iterations a step) or "noise".
    ``force`` is the rms of each step's displacement by the losses' gradient. ``gradient`` "x0" displaces the
    clean estimate and keeps the noise, "unet" displaces the noise by the gradient through the network.
    ``palette`` (0..1) is how far the content's colours are moved to the style's mean and covariance before all else
    (less below strength 0.5, so that a small strength is a small change).
    ``inner`` is the number of gradient steps that share it. ``weights`` are those of the losses.
    ``prompt`` with "*" puts the style picture's own word there where the model has learned such words.
    ``size`` is the working length of the short side in pixels (0: the content's own, at least 384 and the
    model's native size, at most 512).
    """

    name: ClassVar[str] = "guided"
    fits: ClassVar[str] = "guided"

    steps: int = 40
    strength: float = 0.6
    guidance_scale: float = 3.0
    prompt: str = f"a painting in the style of {PLACEHOLDER}"
    negative_prompt: str = ""
    start: str = "inversion"
    corrections: int = 0
    gradient: str = "x0"
    force: float = 0.3
    palette: float = 1.0
    inner: int = 1
    sampler: str = "ddim"
    size: int = 0
    weights: Mapping[str, float] = field(default_factory=lambda: dict(DEFAULT_WEIGHTS))

    def __post_init__(self) -> None:
        if self.start not in ("inversion", "noise"):
            raise SettingError(f"The start must be 'inversion' or 'noise', not '{self.start}'.")
        if self.gradient not in ("x0", "unet"):
            raise SettingError(f"The gradient must stop at 'x0' or go through the 'unet', not '{self.gradient}'.")
        if self.inner < 1 or self.corrections < 0 or self.force < 0:
            raise SettingError("inner must be at least 1, corrections and force must not be negative.")
        if not 0 <= self.palette <= 1:
            raise SettingError(f"The palette must be between 0 and 1, not {self.palette}.")
        check_size(self.size)
        steps_of_strength(self.steps, self.strength)

    @property
    def fitted_by(self) -> Mapping[str, Any]:
        return {"size": self.size}

    def fit(
        self,
        picture: Picture,
        backbone: Backbone,
        name: str,
        progress: Progress,
        mask: Picture | None = None,
        checkpoint: Path | None = None,
    ) -> Style:
        """Cache the style's statistics and, where the model learned such words, its word.

        It takes a moment, so ``checkpoint`` is not used. Raises SettingError for a ``mask``.
        """
        if mask is not None:
            raise SettingError("guided takes no style mask yet: use --method s2prest, or cut the style picture.")
        pixels = image_to_pixels(picture.image, usual_sizing(picture.size, self.size, backbone).working).to(
            backbone.device
        )
        statistics = style_statistics(pixels, perceptual_trunk(backbone.device, backbone.dtype))
        tensors = {f"gram.{layer}": gram for layer, gram in statistics.grams.items()}
        tensors |= {"colour.mean": statistics.colour_mean, "colour.factor": statistics.colour_factor}
        word = backbone.style_word(pixels)
        if word is not None:
            tensors["word"] = word
        card = {
            "picture": picture.name,
            "sha256": picture.digest,
            "size": list(picture.size),
            "versions": versions(),
        }
        return Style(name, self.name, backbone.name, backbone.fingerprint, tensors, card)

    def stylize(
        self,
        contents: Sequence[Picture],
        regions: Sequence[Region],
        backbone: Backbone,
        seed: int,
        progress: Progress,
        memory: Memory,
    ) -> list[Stylization]:
        """Put the style on each of the contents; the losses of one picture do not share a pass with another's."""
        style = whole_style(regions, self.name)
        return [self._stylized(content, style, backbone, seed, progress) for content in contents]

    def _stylized(
        self, content: Picture, style: Style, backbone: Backbone, seed: int, progress: Progress
    ) -> Stylization:
        """Invert or noise the content, then denoise it under the losses and the style's word."""
        style.check(self.name, backbone.fingerprint, backbone.name)
        sizing = usual_sizing(content.size, self.size, backbone)
        statistics = self.statistics(style, backbone.device)
        pixels = transport_colours(
            image_to_pixels(content.image, sizing.working).to(backbone.device),
            statistics.colour_mean,
            statistics.colour_factor,
            self.palette * min(1.0, 2 * self.strength),
        )
        trunk = perceptual_trunk(backbone.device, backbone.dtype)
        objective = self.objective(pixels, statistics, trunk)
        predict = self.predictor(style, backbone)
        values: dict[str, float] = {}

        with torch.no_grad():
            latents = backbone.encode(pixels)
        start = self.start_latents(latents, backbone, seed, progress)

        def steer(moment: Moment) -> Moment:
            steered, measured = self.steered(moment, backbone, predict, objective)
            values.update(measured)
            progress.note(loss=sum(self.weights[name] * value for name, value in measured.items()))
            return steered

        with torch.no_grad():
            result = denoise(
                predict,
                start,
                make_sampler(self.sampler, backbone.scheduler),
                self.steps,
                steps_of_strength(self.steps, self.strength),
                steer=steer if objective.terms and self.force > 0 else unsteered,
                progress=progress,
            )
            decoded = backbone.decode(result)
        settings = {**asdict(self), "weights": dict(self.weights)}
        made = manifest_of(self.name, settings, content, style, backbone, seed, sizing.working)
        manifest = {**made, "features": trunk.source}
        return Stylization(pixels_to_image(decoded, sizing.original), content.alpha, scores=values, manifest=manifest)

    def statistics(self, style: Style, device: torch.device) -> StyleStatistics:
        """What ``fit`` cached, on ``device``."""
        tensors = {name: tensor.to(device) for name, tensor in style.tensors.items()}
        grams = {name.removeprefix("gram."): gram for name, gram in tensors.items() if name.startswith("gram.")}
        return StyleStatistics(grams, tensors["colour.mean"], tensors["colour.factor"])

    def objective(self, pixels: Tensor, statistics: StyleStatistics, trunk: VGG16Trunk) -> Objective:
        """L = L_content + L_style of the poster, as named weighted losses."""
        with torch.no_grad():
            features = trunk.features(pixels, (CONTENT_LAYER,))
        seen = View(pixels, {layer: value.float() for layer, value in features.items()})
        return make_objective(self.weights, Targets(seen, statistics), trunk)

    def predictor(self, style: Style, backbone: Backbone) -> Predict:
        """Classifier-free guidance with the style's word, or with the bare prompt where there is none."""
        word = style.tensors.get("word")
        says_word = PLACEHOLDER in self.prompt
        if says_word and word is None:
            condition: Condition = backbone.text([""])
        else:
            condition = backbone.text([self.prompt], word if says_word else None)
        return classifier_free(backbone, condition, backbone.text([self.negative_prompt]), self.guidance_scale)

    def start_latents(self, latents: Tensor, backbone: Backbone, seed: int, progress: Progress) -> Tensor:
        """The content at the noise level from which ``strength`` of the steps remain."""
        levels = ddim_levels(backbone.alphas_cumprod, self.steps).up_to(steps_of_strength(self.steps, self.strength))
        if not len(levels):
            return latents
        if self.start == "noise":
            generator = torch.Generator().manual_seed(seed)
            noise = torch.randn(latents.shape, generator=generator).to(latents.device)
            return add_noise(latents, noise, levels.abars[-1])
        with torch.no_grad():
            unconditional = conditional(backbone, backbone.text([""]))
            return invert(unconditional, latents, levels, self.corrections, progress).start

    def steered(
        self, moment: Moment, backbone: Backbone, predict: Predict, objective: Objective
    ) -> tuple[Moment, dict[str, float]]:
        """One step moved against the losses' gradient, ``inner`` times; and the losses' last values."""
        move = self.moved_clean if self.gradient == "x0" else self.moved_noise
        values: dict[str, float] = {}
        for _ in range(self.inner):
            moment, values = move(moment, backbone, predict, objective)
        return moment, values

    def moved_clean(
        self, moment: Moment, backbone: Backbone, _predict: Predict, objective: Objective
    ) -> tuple[Moment, dict[str, float]]:
        """x0' = x0_hat - force * sqrt(1 - abar) * g / rms(g), g = dL/dx0_hat, noise kept (guided-details 1.7)."""
        with torch.enable_grad():
            clean = moment.clean.detach().requires_grad_()
            loss, values = objective(backbone.decode(clean))
            direction = normalised(torch.autograd.grad(loss, clean)[0])
        size = self.force / self.inner * math.sqrt(1 - moment.abar)
        return towards(moment, clean.detach() - size * direction), values

    def moved_noise(
        self, moment: Moment, backbone: Backbone, predict: Predict, objective: Objective
    ) -> tuple[Moment, dict[str, float]]:
        """eps' = eps + force * g / rms(g), g = dL/dx_t through the UNet (guided-details 1.4, 1.6)."""
        with torch.enable_grad():
            latents = moment.latents.detach().requires_grad_()
            noise = predict(latents, moment.timestep)
            loss, values = objective(backbone.decode(clean_of(latents, noise, moment.abar)))
            direction = normalised(torch.autograd.grad(loss, latents)[0])
        return replace(moment, noise=moment.noise + self.force / self.inner * direction), values


def normalised(gradient: Tensor) -> Tensor:
    """A gradient (B, C, H, W) brought to rms 1 for each picture; zero stays zero."""
    rms = gradient.square().mean((1, 2, 3), keepdim=True).sqrt()
    return gradient / rms.clamp(min=1e-12)
