"""Batches in a place that was used before: several plans, the same one again, two at once, and nothing left to do."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.test_batch import CUT, InProcess, batch, by_style, contents, files, rows
from velatura.batch.outcome import Outcome
from velatura.batch.place import Place
from velatura.batch.plan import Cut, Plan, write_plan
from velatura.batch.row import Row
from velatura.batch.running import REPORT
from velatura.batch.work import Job


@pytest.mark.parametrize("ending", ["", ".parquet"])
def test_each_plan_keeps_its_own_table(tmp_path: Path, ending: str) -> None:
    paths, out = contents(tmp_path / "in"), tmp_path / f"out{ending}"
    batch(out, rows(paths))
    first = files(out)
    assert batch(out, rows(paths[:1])).states == {"kept": 4}  # the longer plan made them
    both = files(out)
    assert first.items() <= both.items()
    for _ in range(2):
        batch(out, rows(paths))
        batch(out, rows(paths[:1]))
        assert files(out) == both
    table = pq.read_table(
        out if ending else out / "table", columns=["plan", "row", "picture", *["bytes"] * bool(ending)]
    )
    entries = table.to_pylist()
    assert sorted(Counter(entry["plan"] for entry in entries).values()) == [4, 20]
    assert not ending or all(entry["bytes"] for entry in entries)


def test_what_decides_about_a_plans_pictures_is_in_its_name(tmp_path: Path) -> None:
    def named(planned: Iterable[Row], out: str = "out", cut: Cut = CUT, made_by: str = "") -> str:
        return write_plan(planned, Place(str(tmp_path / out)), cut, made_by).name

    paths = contents(tmp_path / "in")
    plans = [
        named(rows(paths)),
        named(rows(paths[:4])),
        named(by_style(paths)),
        named(rows(paths), cut=Cut(window=9, share=3)),
        named(rows(paths), made_by="another model"),
    ]
    assert len(set(plans)) == len(plans)
    assert named(rows(paths), "other") == plans[0]


def test_two_plans_at_once_in_one_place_do_not_meet(tmp_path: Path) -> None:
    paths, out = contents(tmp_path / "in"), tmp_path / "out.parquet"

    class Between(InProcess):
        """Another batch runs into the same place after each row."""

        def run(self, job: Job, plan: Plan) -> Iterator[Outcome]:
            for outcome in super().run(job, plan):
                batch(out, rows(paths[1:]))
                yield outcome

    assert batch(out, rows(paths), engine=Between()).states.total() == 20
    table = pq.read_table(out, columns=["plan", "row", "bytes"]).to_pylist()
    assert len(table) == 36 and all(entry["bytes"] for entry in table)


class Untouchable:
    """An engine that nobody may ask."""

    name = "untouchable"
    settings = {}  # noqa: RUF012

    def run(self, job: Job, plan: Plan) -> Iterator[Outcome]:
        raise AssertionError("There is nothing to do.")


@pytest.mark.parametrize("ending", ["", ".parquet"])
def test_where_all_is_there_no_worker_starts(tmp_path: Path, ending: str) -> None:
    paths, out = contents(tmp_path / "in"), tmp_path / f"out{ending}"
    batch(out, rows(paths))
    before = files(out)
    assert batch(out, rows(paths), engine=Untouchable()).states == {"kept": 20}
    assert files(out) == before
    assert json.loads((out / REPORT).read_text())["kept"] == 20
    changed = next(out.glob("*.txt"), None) or next(out.glob("*.parquet"))
    whole = changed.read_bytes()
    table = next(out.rglob("*_000001.parquet"))
    for harm in (
        lambda: changed.write_bytes(whole[:-1]),
        changed.unlink,
        lambda: paths[0].write_bytes(b"new"),
        table.unlink,
    ):
        harm()
        with pytest.raises(AssertionError):
            batch(out, rows(paths), engine=Untouchable())
        changed.write_bytes(whole)
        batch(out, rows(paths))
        batch(out, rows(paths), engine=Untouchable())


def test_a_row_that_failed_is_tried_again_by_the_next_run(tmp_path: Path) -> None:
    paths = contents(tmp_path / "in", 2)
    paths[1].write_bytes(b"bad")
    for state in ("made", "kept"):
        assert batch(tmp_path / "out", rows(paths, "a")).states == {"failed": 1, state: 1}
        with pytest.raises(AssertionError):
            batch(tmp_path / "out", rows(paths, "a"), engine=Untouchable())


def test_a_damaged_table_is_written_again(tmp_path: Path) -> None:
    paths, out = contents(tmp_path / "in"), tmp_path / "out"
    batch(out, rows(paths))
    whole = files(out)
    next(out.glob("table/*.parquet")).write_bytes(b"harmed")
    assert batch(out, rows(paths)).states == {"kept": 20}
    assert files(out) == whole
