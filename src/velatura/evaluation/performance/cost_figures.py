"""Clocks and memory of the process that measures itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

import psutil
import torch

T = TypeVar("T")
STATUS = Path("/proc/self/status")


class Timed(NamedTuple):
    """Seconds by the clock, and of this process's processors."""

    wall: float
    cpu: float


def timed(device: torch.device, work: Callable[[], T]) -> tuple[T, Timed]:
    """What ``work`` returns and what it took, until the device has done it."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return result, Timed(time.perf_counter() - wall, time.process_time() - cpu)


def seconds_of_process() -> float:
    """Seconds since this process began, imports and all."""
    return time.time() - float(psutil.Process().create_time())


def peak_memory() -> int:
    """The most bytes that this process has held in main memory.

    Linux's own high-water mark, because getrusage's begins with the size of the process that this one was forked from.
    """
    if STATUS.exists():
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    import resource
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def memory_figures(device: torch.device, before: int) -> dict[str, int]:
    """Peak memory in bytes: the process's, what of it came after ``before``, and the GPU's where there is one."""
    figures = {"peak_memory": peak_memory(), "peak_memory_added": max(0, peak_memory() - before)}
    if device.type == "cuda":
        figures["peak_gpu_memory"] = torch.cuda.max_memory_allocated(device)
    return figures
