"""A small plan of pairs and methods on a tiny model, and what two runs of it have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from tests.conftest import smooth_image
from tests.tiny_house import tiny_studio
from velatura.app.benchmarking import Entrants
from velatura.evaluation.benchmark.kept import KeptRows
from velatura.evaluation.benchmark.plan import Plan, Sample, paired
from velatura.evaluation.benchmark.running import Outcome, run

COSTS = {"seconds", "fit_seconds", "peak_memory_mib"}  # what no two runs have alike


def samples_of(seeds: range, name: str) -> list[Sample]:
    return [Sample(f"{name}{seed}", f"{name}{seed}" * 8, smooth_image(64, 64, seed)) for seed in seeds]


def tiny_plan(out: Path) -> Plan:
    studio = tiny_studio(out / "library" / "styles")
    entries = Entrants("styleid", "photo,img2img", ["styleid:steps=4"], [0.25, 0.5]).entries(studio, 64)
    pairs = paired(samples_of(range(2), "c"), samples_of(range(5, 6), "s"))
    return Plan(pairs, entries, 64, 0, "tiny")


def tiny_run(out: Path) -> Outcome:
    torch.set_num_threads(1)
    return run(tiny_plan(out), KeptRows(out), torch.device("cpu"), lambda text: None)


def same(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name not in COSTS} for row in rows]
