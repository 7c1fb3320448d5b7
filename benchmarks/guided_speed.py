"""Seconds and peak memory of one guided step: through the UNet and stopped at x0, and against recomputing everything.

python benchmarks/guided_speed.py CONTENT STYLE [--size 256 --size 512] [--adm] [--device cuda]
Each line is the mean of --repeats steps at the middle of the run, after one that is not counted. "losses" is the
share of the step that is spent on them: feature networks and their gradient down to the pixels. The baseline
recomputes in every step what the published loops do: source features, style features, and 32 views of result and
source for the CLIP-like loss, and passes the UNet twice. --adm measures ADM-256 at its real size, random weights.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from velatura.diffusion.denoising import DenoisingStep
from velatura.losses import clip
from velatura.losses.statistics import style_statistics
from velatura.methods.context import RunContext
from velatura.methods.guided import Guided
from velatura.methods.guided.fitting import GuidedStyle
from velatura.methods.guided.objectives import EncodedContent
from velatura.methods.guided.settings import DEFAULT_WEIGHTS
from velatura.methods.guided.steering import GRADIENTS, Steering, at_resolution
from velatura.models.adm.architecture import AdmShape, build_adm
from velatura.models.adm.backbone import PixelBackbone
from velatura.models.backbone import Backbone, Prediction
from velatura.models.features.vgg import perceptual_trunk
from velatura.models.loading.load import load_backbone
from velatura.models.noise_schedule import add_noise
from velatura.picture import image_to_pixels, open_picture
from velatura.regions import Region
from velatura.style import Style

WITH_CLIP = {**DEFAULT_WEIGHTS, "clip_dir_patch": 3.0}
TIMESTEP, VIEWS = 401, 32


def timed(step: Callable[[], object], repeats: int, device: torch.device) -> float:
    step()
    started = time.perf_counter()
    for _ in range(repeats):
        step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return (time.perf_counter() - started) / repeats


def peak(device: torch.device) -> float:
    """GiB so far."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


class Scene:
    """One content at one size, ready to be steered."""

    def __init__(self, method: Guided, backbone: Backbone, content: Path, style: Style) -> None:
        self.method, self.backbone, self.style, self.context = method, backbone, style, RunContext(backbone)
        picture = open_picture(content)
        size = method.working_size(picture.size, backbone)
        self.pixels = image_to_pixels(picture.image, size).to(backbone.device)
        with torch.no_grad():
            latents = backbone.encode(self.pixels)
        self.content = EncodedContent(at_resolution(self.pixels, method.loss_resolution), latents)
        self.regions = [Region(style)]
        self.shares = torch.ones(1, 1, *latents.shape[2:], device=backbone.device)
        self.predict = method.predictor(self.regions, self.shares, backbone)
        abar, noise = float(backbone.schedule.alphas_cumprod[TIMESTEP]), self.context.noise(latents.shape)
        self.step = DenoisingStep(0, TIMESTEP, abar, 0.0, add_noise(latents, noise, abar), Prediction(noise))

    def steering(self) -> Steering:
        """Everything that is computed once for a picture."""
        objectives = self.method.objectives(self.content, self.regions, self.shares, self.context)
        return self.method.steering(self.predict, objectives, self.content.latents, self.context)

    def steered(self, steering: Steering) -> object:
        """What the loop does at each step: the prediction, and its steering."""
        step = self.step
        if self.method.gradient == "x0":
            with torch.no_grad():
                step = replace(step, prediction=self.predict(step.latents, TIMESTEP))
        return GRADIENTS[self.method.gradient](steering, step)

    def losses(self, steering: Steering) -> Tensor:
        """Only the losses, and their gradient down to the pixels."""
        pixels = self.content.pixels.clone().requires_grad_()
        region = steering.objectives[0]
        loss, _ = region.objective(pixels, self.content.latents, region.content(0))
        return torch.autograd.grad(loss, pixels)[0]

    def recomputing(self) -> object:
        """The step of the published loops."""
        trunk = perceptual_trunk(self.backbone.device, self.backbone.dtype)
        picture = GuidedStyle.of(self.style).pixels(min(self.content.pixels.shape[2:]), self.backbone.device)
        assert picture is not None
        style_statistics(picture, trunk)
        with torch.no_grad():
            self.predict(self.step.latents, TIMESTEP)
        return self.steered(self.steering())


def line(name: str, scene: Scene, repeats: int) -> float:
    device, steering = scene.backbone.device, scene.steering()
    whole = timed(lambda: scene.steered(steering), repeats, device)
    losses = timed(lambda: scene.losses(steering), repeats, device)
    size = "x".join(str(side) for side in scene.pixels.shape[:1:-1])
    print(f"| {name} | {size} | {whole:.3f} | {100 * losses / whole:.0f} % | {peak(device):.2f} |", flush=True)
    return whole


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("content", type=Path)
    parser.add_argument("style", type=Path)
    parser.add_argument("--model", default="house")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--size", type=int, action="append")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--adm", action="store_true")
    asked = parser.parse_args()
    print("| step | size | seconds | of which losses | peak GiB so far |\n|---|---|---|---|---|")
    if asked.adm:
        shape = AdmShape(256, 256, (1, 1, 2, 2, 4, 4), 2, (3, 4, 5))
        device = load_backbone("house", asked.device).device
        dtype = torch.bfloat16
        unet = build_adm(shape).to(device, dtype).requires_grad_(False).eval()
        backbone: Backbone = PixelBackbone(unet, shape, "adm-256, random", device, dtype)
    else:
        backbone = load_backbone(asked.model, asked.device)
    for size in asked.size or [256]:
        style = Guided(size=size).fit(open_picture(asked.style), "style", RunContext(backbone))
        for gradient in ("x0", "unet"):
            method = Guided(size=size, gradient=gradient, weights=DEFAULT_WEIGHTS)
            line(f"{backbone.name}, {gradient}", Scene(method, backbone, asked.content, style), asked.repeats)
        if not asked.adm:
            method = Guided(size=size, weights=WITH_CLIP)
            scene = Scene(method, backbone, asked.content, style)
            ours = line(f"{backbone.name}, x0, with CLIP-like", scene, asked.repeats)
            clip.PatchDirectionalClip.views, clip.POOL = VIEWS, VIEWS
            theirs = timed(scene.recomputing, max(1, asked.repeats // 3), backbone.device)
            clip.PatchDirectionalClip.views, clip.POOL = clip.PATCH_VIEWS, 24
            print(f"recomputing everything: {theirs:.3f} s, {theirs / ours:.1f} times as long", flush=True)


if __name__ == "__main__":
    main()
