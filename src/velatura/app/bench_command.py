"""velatura bench: what methods cost on this machine."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from velatura.app.options import Device, Dtype, Model
from velatura.app.terminal import say
from velatura.errors import SettingError
from velatura.registry import METHODS

if TYPE_CHECKING:
    from velatura.evaluation.performance import Asked, Measurement

FORMAT = "velatura-bench-1"
GIB = 2**30


@dataclass(frozen=True)
class BenchOptions:
    """Options of ``velatura bench``."""

    methods: Annotated[str, typer.Option(help="Methods, with commas between.")] = ",".join(METHODS)
    size: Annotated[str, typer.Option(help="Working lengths of the short side in pixels, as 128,256.")] = "256"
    model: Model = "house"
    real_size: Annotated[
        bool,
        typer.Option("--real-size", help="Also Stable Diffusion 1.x's and SDXL's shapes, with random weights."),
    ] = False
    minutes: Annotated[float, typer.Option(help="When these are over, the measurements still open are left out.")] = 10
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Also write all figures as JSON.", show_default=False)
    ] = None
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False
    device: Device = "auto"
    dtype: Dtype = "auto"


def bench(options: BenchOptions) -> None:
    """Measure what methods cost here: evaluations, cold and warm seconds, peak memory.

    Each measurement has a process of its own. Methods are compared with those as published and with Magenta; on a GPU
    also batches of 1 to 16 with the card's rate in bf16, and every method's result with the CPU's.
    """
    from velatura.app.targets import one_file

    sizes = [_size(text) for text in options.size.split(",")]
    target = one_file(options.out, [], options.force) if options.out else None
    from velatura.evaluation.performance import Asked, measure_all, planned_cases
    from velatura.models.loading.devices import DTYPES, choose_device, choose_dtype

    device = choose_device(options.device)
    dtype = next(name for name, kind in DTYPES.items() if kind == choose_dtype(device, options.dtype))
    methods = [name.strip() for name in options.methods.split(",") if name.strip()]
    asked = Asked(methods, sizes, options.model, device.type, dtype, options.real_size, options.minutes)
    measurements: list[Measurement] = []
    for measurement in measure_all(planned_cases(asked), asked.minutes, lambda case: say(f"Measuring {case.label} …")):
        measurements.append(measurement)
        if target is not None:
            write_results(target, asked, measurements)
    _print_tables(measurements)
    if target is not None:
        typer.echo(target)
    if not any(measurement.figures for measurement in measurements):
        raise SettingError(f"Nothing could be measured: {measurements[0].reason}.")


def _size(text: str) -> int:
    try:
        size = int(text)
    except ValueError:
        raise SettingError(f"--size needs whole numbers of pixels, as 128,256, not '{text}'.") from None
    if not 64 <= size <= 4096:
        raise SettingError(f"--size must be from 64 to 4096, not {size}.")
    return size


def write_results(target: Path, asked: Asked, measurements: Sequence[Measurement]) -> None:
    """All so far as one JSON file, written whole: machine, what was asked, measurements, ratios."""
    from velatura.evaluation.performance import ratios
    from velatura.whole_file import whole_file

    found = {
        "format": FORMAT,
        "machine": machine(asked.device),
        "asked": asdict(asked),
        "measurements": [asdict(each) for each in measurements],
        "ratios": ratios(measurements),
    }
    with whole_file(target) as file:
        file.write_text(json.dumps(found, indent=1))


def machine(device: str) -> dict[str, Any]:
    """What the figures were measured on."""
    import os
    import platform

    import psutil
    import torch

    from velatura.methods.provenance import versions

    described = {
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "memory": int(psutil.virtual_memory().total),
        "versions": versions(),
    }
    return described | ({"gpu": torch.cuda.get_device_name()} if device == "cuda" else {})


def _print_tables(measurements: Sequence[Measurement]) -> None:
    from rich.console import Console
    from rich.table import Table

    from velatura.evaluation.performance import ratios

    console = Console()
    table = Table("measured", "evaluations", "cold s", "warm s", "peak GiB", box=None)
    for each in measurements:
        table.add_row(each.case.label, *(_cells(each.figures) if each.figures else (f"not measured: {each.reason}",)))
    console.print(table)
    compared = Table("measured", "against", "evaluations", "warm s", "peak memory", box=None)
    for entry in ratios(measurements):
        shown = [f"{entry[name]:.3g}" if name in entry else "" for name in ("evaluations", "warm_seconds")]
        memory = entry.get("peak_gpu_memory", entry.get("peak_memory", entry.get("share")))
        compared.add_row(entry["case"], entry["to"], *shown, f"{memory:.3g}" if memory else "")
    if compared.row_count:
        console.print("\nRatios: under 1 is cheaper; to the card's rate, the share of it that was used.")
        console.print(compared)


def _cells(figures: Mapping[str, Any]) -> list[str]:
    """A measurement's main figures; of networks one evaluation, of an agreement how far the results are apart."""
    if "largest" in figures:
        return [f"apart by {figures['mean']:.2g} levels of 255, at most {figures['largest']:g}"]
    warm = figures.get("warm_seconds", figures.get("evaluation_seconds", {}).get("warm"))
    cold = figures.get("cold_seconds", figures.get("evaluation_seconds", {}).get("cold"))
    if warm is None:
        return [f"{figures['flops_a_second'] / 1e12:.3g} TFLOP/s"]
    memory = figures.get("peak_gpu_memory", figures["peak_memory"]) / GIB
    evaluations = f"{figures['evaluations']:g}" if "evaluations" in figures else "1"
    return [evaluations, f"{cold:.3g}", f"{warm:.3g}", f"{memory:.2f}"]
