"""Which cases a run of ``velatura bench`` measures, the most telling first, because its time is limited."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any

from velatura.evaluation.performance.case import AGREEMENT, MAGENTA, METHOD, NETWORKS, RATE, Case
from velatura.evaluation.performance.random_models import RANDOM_SD, RANDOM_SDXL
from velatura.methods.validation import Range, check_settings
from velatura.registry import METHODS, REPRODUCTION_OF, check_name, method_class

BATCHES = (1, 2, 4, 8, 16)
AGREEMENT_SIZE = 128
# A fit to the end takes minutes and is shared by all results in a style: benchmarks/fitting.py measures it.
FIT_STEPS = 5
NATIVE = {RANDOM_SD: 512, RANDOM_SDXL: 1024}


@dataclass(frozen=True)
class Asked:
    """What a run is to measure: ``methods`` beside those as published and Magenta, at working ``sizes``, on a
    ``device`` ("cpu", "cuda", …); with ``real_size`` Stable Diffusion's shapes too. At most ``minutes`` of it.
    """

    methods: Sequence[str] = tuple(METHODS)
    sizes: Sequence[int] = (256,)
    model: str = "house"
    device: str = "cpu"
    dtype: str = "fp32"
    real_size: bool = False
    minutes: Annotated[float, Range(0, 24 * 60, open=True)] = 10.0

    def __post_init__(self) -> None:
        check_settings(self)
        for name in self.methods:
            check_name(name)


def planned_cases(asked: Asked) -> list[Case]:
    """The cases, once each, in the order in which they are measured."""
    on_gpu = asked.device != "cpu"
    groups = [_methods(asked)]
    groups += [_real_size(asked, on_gpu)] if asked.real_size else []
    groups += [_on_gpu(asked)] if on_gpu else []
    return list({case.to_json(): case for group in groups for case in group}.values())


def short_fit(name: str) -> Mapping[str, Any]:
    """The settings of a method whose style is fitted in a few steps; none for one that does not learn."""
    return {"fit_steps": FIT_STEPS} if "fit_steps" in {field.name for field in fields(method_class(name))} else {}


def _methods(asked: Asked) -> Iterator[Case]:
    """Each method followed by what it is compared with."""
    for size in asked.sizes:
        common = Case(METHOD, "", asked.model, size, asked.device, asked.dtype)
        yield replace(common, kind=MAGENTA, dtype="fp32", model="")
        for name in asked.methods:
            for each in (name, *([REPRODUCTION_OF[name]] if name in REPRODUCTION_OF else [])):
                yield replace(common, method=each, settings=short_fit(each))


def _real_size(asked: Asked, on_gpu: bool) -> Iterator[Case]:
    """The networks at Stable Diffusion's shapes in every number format; on a GPU whole methods too.

    On a CPU at half the native side: an evaluation of SDXL at 1024 px takes minutes there.
    """
    formats = ("bf16", "fp16", "fp32") if on_gpu else ("fp32", "bf16")
    for model, native in NATIVE.items():
        for dtype in formats:
            yield Case(NETWORKS, "", model, native if on_gpu else native // 2, asked.device, dtype)
    if on_gpu:
        for model, native in NATIVE.items():
            for name in asked.methods:
                cls = method_class(name)
                if cls.needs_fast_adapter:
                    continue
                if model == RANDOM_SD or not cls.needs_picture_words:  # SDXL's shape reads none
                    yield Case(METHOD, name, model, native, asked.device, "fp16", 1, short_fit(name))


def _on_gpu(asked: Asked) -> Iterator[Case]:
    """The card's rate, batches against it, and every method's agreement with the CPU."""
    yield Case(RATE, device=asked.device, dtype="bf16", model="", size=0)
    for name in asked.methods:
        yield Case(AGREEMENT, name, asked.model, AGREEMENT_SIZE, asked.device, "fp32", 1, short_fit(name))
    batches = [name for name in asked.methods if method_class(name).batch > 1]
    for batch in BATCHES:
        for model, native in NATIVE.items() if asked.real_size else ():
            yield Case(NETWORKS, "", model, native, asked.device, "bf16", batch)
        for name in batches:
            yield Case(METHOD, name, asked.model, max(asked.sizes), asked.device, "bf16", batch, short_fit(name))
