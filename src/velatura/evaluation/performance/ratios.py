"""Measurements against each other: methods to their published arithmetic and to Magenta, batches to the card's rate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from velatura.evaluation.performance.case import MAGENTA, METHOD, RATE, Case, Measurement
from velatura.registry import REPRODUCTION_OF

COMPARED = ("evaluations", "cold_seconds", "warm_seconds", "warm_cpu_seconds", "peak_memory", "peak_gpu_memory")


def ratios(measurements: Sequence[Measurement]) -> list[dict[str, Any]]:
    """For each method the figures over those of its reproduction and of Magenta, in the same place and size.

    Entries are {"case": label, "to": "s2prest-original", "warm_seconds": 0.4, …}; below 1 is cheaper. Where the card's
    rate was measured, {"case": label, "to": "rate", "share": 0.3} says how much of it a case used.
    """
    known = [each for each in measurements if each.figures]
    found = [entry for each in known if each.case.kind == METHOD for entry in _of_method(each, known)]
    return [*found, *_of_rate(known)]


def _of_method(one: Measurement, known: Sequence[Measurement]) -> Iterator[dict[str, Any]]:
    other = REPRODUCTION_OF.get(one.case.method, "")
    for each in known:
        same = _place(each.case) == _place(one.case)
        if each.case.kind == METHOD and each.case.method == other and same and each.case.dtype == one.case.dtype:
            if each.case.model == one.case.model:
                yield {"case": one.case.label, "to": other, **_quotients(one.figures, each.figures)}
        elif each.case.kind == MAGENTA and same:
            yield {"case": one.case.label, "to": MAGENTA, **_quotients(one.figures, each.figures)}


def _of_rate(known: Sequence[Measurement]) -> Iterator[dict[str, Any]]:
    rates = {each.case.device: each.figures["flops_a_second"] for each in known if each.case.kind == RATE}
    for each in known:
        if each.case.kind != RATE and each.case.device in rates and "flops_a_second" in each.figures:
            share = each.figures["flops_a_second"] / rates[each.case.device]
            yield {"case": each.case.label, "to": RATE, "share": share}


def _place(case: Case) -> tuple[int, str, int]:
    return case.size, case.device, case.batch


def _quotients(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, float]:
    return {name: ours[name] / theirs[name] for name in COMPARED if ours.get(name) and theirs.get(name)}
