"""velatura bench: which cases, what a measurement holds, ratios, and the time limit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.command_line import run
from tests.tiny_house import tiny_house
from velatura.app.bench_command import FORMAT
from velatura.errors import SettingError
from velatura.evaluation.performance import Asked, Case, Measurement, measure_all, planned_cases, ratios, running
from velatura.evaluation.performance import measuring as measurements
from velatura.evaluation.performance.measuring import measure
from velatura.evaluation.performance.random_models import RANDOM_SDXL, random_network
from velatura.registry import METHODS, REPRODUCTION_OF

QUICK = {"steps": 2}


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measurements, "load_any", lambda *_: tiny_house())


def test_every_method_is_planned_with_what_it_is_compared_with() -> None:
    cases = planned_cases(Asked(sizes=(64, 128)))
    texts = [case.to_json() for case in cases]
    assert len(set(texts)) == len(texts) and all(Case.of_json(text).to_json() == text for text in texts)
    for size in (64, 128):
        names = [case.method or case.kind for case in cases if case.size == size]
        assert set(names) == {"magenta", *METHODS, *REPRODUCTION_OF.values()}


def test_a_gpu_gets_its_rate_batches_agreements_and_real_sizes() -> None:
    cases = planned_cases(Asked(device="cuda", dtype="fp16", real_size=True))
    assert {case.kind for case in cases} == {"method", "magenta", "networks", "rate", "agreement"}
    assert {case.dtype for case in cases if case.model == RANDOM_SDXL} == {"fp32", "bf16", "fp16"}
    assert {case.batch for case in cases} == {1, 2, 4, 8, 16}
    assert "rate" not in {case.kind for case in planned_cases(Asked(real_size=True))}


@pytest.mark.parametrize("wrong", [{"minutes": 0.0}, {"minutes": float("nan")}, {"methods": ("none",)}])
def test_bad_requests_are_told(wrong: dict[str, object]) -> None:
    with pytest.raises(SettingError):
        Asked(**wrong)  # type: ignore[arg-type]


def test_a_method_is_measured(tiny: None) -> None:
    figures = measure(Case("method", "styleid", size=64, settings=QUICK))
    assert figures["evaluations"] > 0 and figures["working_size"] == [64, 64]
    assert figures["cold_seconds"] > figures["first_seconds"] > 0 and figures["warm_seconds"] > 0
    assert figures["peak_memory"] > figures["peak_memory_added"] >= 0 and figures["evaluation_flops"] > 0


def test_a_batch_shares_the_passes(tiny: None) -> None:
    case = Case("method", "s2prest", size=64, batch=2, settings={**QUICK, "fit_steps": 1})
    made = measurements.configured(case)
    assert made.batch == 2 and made.name == "s2prest"


def test_networks_and_agreement_and_rate_are_measured(tiny: None) -> None:
    figures = measure(Case("networks", size=64))
    assert figures["finite"] and figures["evaluation_seconds"]["warm"] > 0
    assert measure(Case("agreement", "styleid", size=64, settings=QUICK)) == {"largest": 0, "mean": 0, "psnr": None}
    assert measure(Case("rate", dtype="fp32"))["flops_a_second"] > 0
    with pytest.raises(SettingError, match="nonsense"):
        measure(Case("nonsense"))


def test_ratios_are_to_the_published_arithmetic_to_magenta_and_to_the_rate() -> None:
    def of(kind: str, method: str = "", **figures: float) -> Measurement:
        return Measurement(Case(kind, method, size=0 if kind == "rate" else 256), figures)

    found = ratios(
        [
            of("magenta", warm_seconds=0.5, peak_memory=100),
            of("method", "s2prest", warm_seconds=2.0, evaluations=10, peak_memory=200, flops_a_second=5.0),
            of("method", "s2prest-original", warm_seconds=8.0, evaluations=40, peak_memory=400),
            of("rate", flops_a_second=20.0),
            Measurement(Case("method", "guided"), reason="the time was up"),
        ]
    )
    ours = {entry["to"]: entry for entry in found if entry["case"].startswith("s2prest house")}
    assert ours["s2prest-original"]["warm_seconds"] == 0.25 and ours["s2prest-original"]["evaluations"] == 0.25
    assert ours["magenta"]["warm_seconds"] == 4 and ours["rate"]["share"] == 0.25


def test_what_cannot_be_measured_has_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    nonsense = Case("nonsense")
    (failed,) = measure_all([nonsense], minutes=5)
    assert "Unknown measurement 'nonsense'" in failed.reason and not failed.figures
    (late,) = measure_all([nonsense], minutes=0)
    assert late.reason == running.NO_TIME
    monkeypatch.setattr(running, "free_memory", lambda device: 2**30)
    (large,) = measure_all([Case("networks", model=RANDOM_SDXL)], minutes=5)
    assert "GiB" in large.reason


def test_random_networks_are_seeded_and_change_nothing_in_norms() -> None:
    def build() -> torch.nn.Module:
        return torch.nn.Sequential(torch.nn.Linear(16, 16), torch.nn.GroupNorm(2, 16))

    one, other = random_network(build), random_network(build)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert torch.equal(one[1].weight, torch.ones(16)) and one[0].weight.std() > 0.1  # type: ignore[index]


def test_the_command_writes_json_and_keeps_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = {"evaluations": 3, "cold_seconds": 2.0, "warm_seconds": 1.0, "peak_memory": 2**30}
    monkeypatch.setattr(running, "measured", lambda case, seconds: Measurement(case, figures))
    out = tmp_path / "bench.json"
    out.write_text("mine")
    asked = ("--methods", "styleid", "--size", 64, "--device", "cpu", "--out", out)
    assert run(monkeypatch, "bench", *asked) == 0 and out.read_text() == "mine"
    written = json.loads((tmp_path / "bench-1.json").read_text())
    assert written["format"] == FORMAT and written["machine"]["cores"]
    assert [each["case"]["kind"] for each in written["measurements"]] == ["magenta", "method"]
    assert written["ratios"][0]["warm_seconds"] == 1
    assert "styleid" in capsys.readouterr().out
