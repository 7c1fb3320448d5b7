"""The most memory that a piece of work held at once."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import torch

MIB = 2**20
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_PEAK = "5"  # what Linux takes to let VmHWM start anew


class PeakMemory:
    """Counts from when it was made: on a GPU what torch allocated there, else the whole program's resident memory.

    Where the system cannot start its count anew, which Linux can, it is the most since the program began.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            return
        try:
            CLEAR.write_text(RESET_PEAK)
        except OSError:
            return

    @property
    def mib(self) -> float:
        """MiB at the most so far; nan where the system does not tell."""
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device) / MIB
        try:
            found = re.search(r"VmHWM:\s+(\d+) kB", STATUS.read_text())
        except OSError:
            found = None
        return float(found[1]) / 1024 if found else _since_beginning()


def _since_beginning() -> float:
    try:
        import resource
    except ImportError:
        return float("nan")
    unit = MIB if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
