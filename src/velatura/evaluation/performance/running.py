"""Measuring cases one after the other, each in a new process, until the time is up."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence

from velatura.evaluation.performance.case import Case, Measurement
from velatura.evaluation.performance.random_models import BILLIONS
from velatura.methods.memory import free_memory
from velatura.models.loading.devices import choose_device

BYTES = {"fp32": 4, "bf16": 2, "fp16": 2}
NO_TIME = "the time was up"


def measure_all(
    cases: Sequence[Case], minutes: float, say: Callable[[Case], None] = lambda case: None
) -> Iterator[Measurement]:
    """Each case's measurement, or why there is none; a case is told to ``say`` before it is measured."""
    deadline = time.monotonic() + 60 * minutes
    for case in cases:
        left = deadline - time.monotonic()
        reason = NO_TIME if left <= 0 else too_large(case)
        if not reason:
            say(case)
        yield Measurement(case, reason=reason) if reason else measured(case, left)


def too_large(case: Case) -> str:
    """Why a model with random weights is not tried on this machine; empty where it fits."""
    if case.model not in BILLIONS:
        return ""
    # Half as much again for activations; on a CPU one picture's are small beside the weights.
    needed = int(BILLIONS[case.model] * 1e9 * BYTES.get(case.dtype, 4) * 1.5)
    free = free_memory(choose_device(case.device))
    if needed <= free:
        return ""
    return f"it needs about {needed / 2**30:.0f} GiB of memory and {free / 2**30:.0f} GiB were free"


def measured(case: Case, seconds: float) -> Measurement:
    """The case measured in a new process that has so many ``seconds``; its last words where it failed."""
    command = [sys.executable, "-m", "velatura.evaluation.performance", case.to_json()]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return Measurement(case, reason=NO_TIME)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"the process ended with {done.returncode}"])[-1]
        return Measurement(case, reason=last)
    return Measurement(case, json.loads(done.stdout.strip().splitlines()[-1]))
