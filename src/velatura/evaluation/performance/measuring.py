"""The measurements by kind, as the process that is measured makes them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from velatura.errors import SettingError
from velatura.evaluation.painted_styles import PAINTED_STYLES
from velatura.evaluation.performance.case import AGREEMENT, MAGENTA, METHOD, NETWORKS, RATE, Case
from velatura.evaluation.performance.cost_figures import memory_figures, peak_memory, seconds_of_process, timed
from velatura.evaluation.performance.random_models import load_any
from velatura.methods.base import Method, Stylization
from velatura.methods.context import RunContext
from velatura.methods.style_fitting import fit_style
from velatura.models.backbone import Backbone
from velatura.models.loading.devices import choose_device, choose_dtype
from velatura.picture import Picture, image_to_pixels
from velatura.regions import Region
from velatura.registry import method_class
from velatura.style import Style

STYLE = "whirls"
REPEATS = 5
Figures = dict[str, Any]


def contents(count: int, size: int) -> list[Picture]:
    """``count`` photos: scikit-image's astronaut at the side ``size`` (0: 512), mirrored and turned."""
    from skimage.data import astronaut

    photo = Image.fromarray(astronaut())
    photo = photo.resize((size, size), Image.Resampling.LANCZOS) if size else photo
    turned = [photo.rotate(90 * (number // 2)) for number in range(count)]
    return [Picture.of(ImageOps.mirror(one) if n % 2 else one, f"astronaut-{n}") for n, one in enumerate(turned)]


def configured(case: Case) -> Method:
    """The case's method, at its size where it has one, with as many pictures in a pass as the case's batch."""
    cls = method_class(case.method)
    if case.batch > 1:
        cls = type(cls.__name__, (cls,), {"batch": case.batch})
    sized = {"size": case.size} if case.size and "size" in {field.name for field in fields(cls)} else {}
    return cls(**{**sized, **case.settings})


def stylized(
    method: Method, pictures: list[Picture], backbone: Backbone, style: Style | None = None
) -> list[Stylization]:
    """Pictures in the painted style, fitted now unless it is given, with nothing kept from before."""
    context = RunContext(backbone)
    fitted = style or fit_style(method, [Picture.of(PAINTED_STYLES[STYLE](0), STYLE)], STYLE, context)
    return method.stylize(pictures, [Region(fitted)], context)


def evaluation_flops(backbone: Backbone, latents: Tensor) -> int:
    """Floating-point operations of one evaluation of the network for each picture of ``latents``."""
    conditioning = backbone.unconditional().expanded(len(latents))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        backbone.predict(latents, 500, conditioning)
    return int(counter.get_total_flops() / len(latents))


def measure_method(case: Case) -> Figures:
    """A method: cold from the start of the process to the first result, warm for other photos in the fitted style."""
    before, device = peak_memory(), choose_device(case.device)
    backbone, loading = timed(device, lambda: load_any(case.model, device, choose_dtype(device, case.dtype)))
    method, pictures = configured(case), contents(2 * case.batch, case.size)
    first, second = pictures[: case.batch], pictures[case.batch :]
    painting = Picture.of(PAINTED_STYLES[STYLE](0), STYLE)
    style, fitting = timed(device, lambda: fit_style(method, [painting], STYLE, RunContext(backbone)))
    _, running = timed(device, lambda: stylized(method, first, backbone, style))
    cold = seconds_of_process()
    results, warm = timed(device, lambda: stylized(method, second, backbone, style))
    memory = memory_figures(device, before)  # before the counting of operations, which is no part of a run
    manifest = results[0].manifest
    width, height = manifest["working_size"]
    shape = (1, backbone.latent_channels, height // backbone.factor, width // backbone.factor)
    flops = evaluation_flops(backbone, torch.zeros(shape, device=device))
    evaluations = float(manifest["unet_evaluations"])
    return {
        "evaluations": evaluations,
        "cold_seconds": cold,
        "load_seconds": loading.wall,
        "fit_seconds": fitting.wall,
        "first_seconds": running.wall,
        "warm_seconds": warm.wall / case.batch,
        "warm_cpu_seconds": warm.cpu / case.batch,
        "pictures_a_second": case.batch / warm.wall,
        "working_size": [width, height],
        "evaluation_flops": flops,
        "flops_a_second": evaluations * flops * case.batch / warm.wall,
        **memory,
    }


@torch.no_grad()
def measure_magenta(case: Case) -> Figures:
    """Magenta's transfer (fp32): style vector and painting."""
    from velatura.models.features.magenta import paint_over, style_vectors

    before, device = peak_memory(), choose_device(case.device)
    first, second = (image_to_pixels(each.image).to(device) for each in contents(2, case.size))
    style = image_to_pixels(PAINTED_STYLES[STYLE](0)).to(device)
    timed(device, lambda: paint_over(first, style_vectors(style)))
    cold = seconds_of_process()
    _, warm = timed(device, lambda: [paint_over(second, style_vectors(style)) for _ in range(REPEATS)])
    figures = {"cold_seconds": cold, "warm_seconds": warm.wall / REPEATS, "warm_cpu_seconds": warm.cpu / REPEATS}
    return {"evaluations": 0, **figures, **memory_figures(device, before)}


@torch.no_grad()
def measure_networks(case: Case) -> Figures:
    """A model's networks one by one: encoding, an evaluation of the denoiser, decoding, each cold and warm."""
    before, device = peak_memory(), choose_device(case.device)
    backbone, loading = timed(device, lambda: load_any(case.model, device, choose_dtype(device, case.dtype)))
    pixels = torch.cat([image_to_pixels(each.image) for each in contents(case.batch, case.size)]).to(device)
    figures: Figures = {"load_seconds": loading.wall}
    latents, figures["encode_seconds"] = _cold_and_warm(device, lambda: backbone.encode(pixels))
    conditioning = backbone.unconditional().expanded(case.batch)
    predicted, figures["evaluation_seconds"] = _cold_and_warm(
        device, lambda: backbone.predict(latents, 500, conditioning).noise
    )
    _, figures["decode_seconds"] = _cold_and_warm(device, lambda: backbone.decode(latents))
    memory = memory_figures(device, before)
    flops = evaluation_flops(backbone, latents)
    seconds = figures["evaluation_seconds"]["warm"]
    return figures | {
        "finite": bool(predicted.isfinite().all()),
        "evaluations_a_second": case.batch / seconds,
        "evaluation_flops": flops,
        "flops_a_second": flops * case.batch / seconds,
        **memory,
    }


def _cold_and_warm(device: torch.device, work: Callable[[], Tensor]) -> tuple[Tensor, dict[str, float]]:
    """A result, the seconds of the first time and of the second; on a GPU the mean of some more."""
    repeats = REPEATS if device.type == "cuda" else 1
    result, cold = timed(device, work)
    _, warm = timed(device, lambda: [work() for _ in range(repeats)])
    return result, {"cold": cold.wall, "warm": warm.wall / repeats}


def measure_rate(case: Case) -> Figures:
    """The most floating-point operations a second that products of square matrices reach in a number format."""
    device = choose_device(case.device)
    side = 8192 if device.type == "cuda" else 1024
    a, b = (torch.ones(side, side, device=device, dtype=choose_dtype(device, case.dtype)) for _ in range(2))
    timed(device, lambda: a @ b)
    fastest = min(timed(device, lambda: a @ b)[1].wall for _ in range(2 * REPEATS))
    return {"side": side, "flops_a_second": 2 * side**3 / fastest}


def measure_agreement(case: Case) -> Figures:
    """A method's result on the CPU against that on the case's device, both in fp32, in levels of 255."""
    other = choose_device(case.device)
    results = []
    for device in (torch.device("cpu"), other):
        backbone = load_any(case.model, device, torch.float32)
        made = stylized(configured(case), contents(1, case.size), backbone)[0]
        results.append(np.asarray(made.picture, dtype=np.float64))
    apart = np.abs(results[0] - results[1])
    mse = float(np.square(apart).mean())
    psnr = 10 * float(np.log10(255**2 / mse)) if mse else None  # None: no difference at all
    return {"largest": float(apart.max()), "mean": float(apart.mean()), "psnr": psnr}


KINDS: Mapping[str, Callable[[Case], Figures]] = {
    METHOD: measure_method,
    MAGENTA: measure_magenta,
    NETWORKS: measure_networks,
    RATE: measure_rate,
    AGREEMENT: measure_agreement,
}


def measure(case: Case) -> Figures:
    """The case's figures by name. Raises SettingError for an unknown kind, and what its work raises."""
    if case.kind not in KINDS:
        raise SettingError(f"Unknown measurement '{case.kind}': use {', '.join(KINDS)}.")
    figures = KINDS[case.kind](case)
    json.dumps(figures, allow_nan=False)
    return figures
