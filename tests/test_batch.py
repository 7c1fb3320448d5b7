"""Batches on worker processes: the same table by every way, killed and resumed; bounded memory; errors by row."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import tracemalloc
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.batch_stub import Stub
from velatura.batch.local import LocalEngine
from velatura.batch.outcome import FAILED, MADE, Outcome
from velatura.batch.place import Patience, Place
from velatura.batch.plan import Cut, Plan, write_plan
from velatura.batch.results import Results
from velatura.batch.row import Row
from velatura.batch.running import REPORT, Tally, run_batch
from velatura.batch.work import Job, Worker
from velatura.errors import SettingError, TargetError, VelaturaError

CUT, STUB = Cut(window=8, share=3), Stub()


def contents(folder: Path, count: int = 5) -> list[Path]:
    folder.mkdir(exist_ok=True)
    paths = [folder / f"c{i}.png" for i in range(count)]
    for i, path in enumerate(paths):
        path.write_bytes(b"content %d" % i)
    return paths


def rows(paths: Iterable[Path], styles: Iterable[str] = ("a", "b", "c", "d")) -> Iterator[Row]:
    number = 0
    for path in paths:
        for style in styles:
            yield Row(number, str(path), style, "stub", "{}", 0, str(path))
            number += 1


def by_style(paths: Iterable[Path]) -> list[Row]:
    return [
        Row(number, str(path), style, "stub", "{}", 0, style)
        for number, (style, path) in enumerate((style, path) for style in "abcd" for path in paths)
    ]


class InProcess:
    """An engine without processes, which can be stopped after any number of events."""

    name = "in process"
    settings = {}  # noqa: RUF012

    def __init__(self, events: int = 10**9, shares: int = 10**9) -> None:
        self.events, self.shares = events, shares

    def run(self, job: Job, plan: Plan) -> Iterator[Outcome]:
        worker, heard = Worker(job), 0
        for share in plan.all_shares():
            for event in worker.work(share):
                heard += 1
                if heard > self.events:
                    raise KeyboardInterrupt
                if isinstance(event, Outcome):
                    yield event


def batch(out: Path, planned: Iterable[Row], stub: Stub = STUB, engine: object = None) -> Tally:
    place = Place(str(out))
    plan = write_plan(planned, place, CUT)
    return run_batch(plan, Job(stub, Results(place, plan.name)), engine or InProcess(), lambda tally: None)  # type: ignore[arg-type]


def files(out: Path) -> dict[str, bytes]:
    """All that a batch leaves but its report and its note on files, which tell of times."""
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.suffix != ".json"
    }


def made_once(log: Path, count: int) -> bool:
    numbers = Counter(int(line.split()[1]) for line in log.read_text().splitlines())
    return numbers == Counter(range(count))


def test_a_plan_is_worked_off_in_shares_of_one_group(tmp_path: Path) -> None:
    paths = contents(tmp_path / "in")
    plan = write_plan(rows(paths), Place(str(tmp_path / "out")), CUT)
    shares = list(plan.all_shares())
    assert (plan.rows, plan.shares, len(plan.first_shares)) == (20, len(shares), 3)
    assert all(len({row.group for row in share.rows}) == 1 and len(share.rows) <= 3 for share in shares)
    assert [plan.share(index) for index in range(plan.shares)] == shares
    assert sorted(row.number for share in shares for row in share.rows) == list(range(20))
    assert [row.number for row in plan.rows_of(2)] == [16, 17, 18, 19] and plan.size_of(2) == 4


def test_processes_give_what_one_loop_gives_and_a_second_run_makes_nothing(tmp_path: Path) -> None:
    planned = by_style(contents(tmp_path / "in"))
    batch(tmp_path / "one", planned)
    log = tmp_path / "log"
    tally = batch(tmp_path / "two", planned, Stub(log=str(log)), LocalEngine(workers=2, nice=0))
    assert files(tmp_path / "one") == files(tmp_path / "two")
    assert tally.states == {"made": 20} and made_once(log, 20)
    again = batch(tmp_path / "two", planned, Stub(log=str(log)))
    assert again.states == {"kept": 20} and made_once(log, 20)
    assert files(tmp_path / "one") == files(tmp_path / "two")
    report = json.loads((tmp_path / "two" / REPORT).read_text())
    assert (report["rows"], report["made"], report["kept"], report["stopped"]) == (20, 0, 20, False)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=st.integers(0, 40), ending=st.sampled_from(["", ".parquet"]), more=st.integers(0, 40))
def test_killed_anywhere_and_resumed_gives_the_same_table(
    tmp_path_factory: pytest.TempPathFactory, events: int, ending: str, more: int
) -> None:
    folder = tmp_path_factory.mktemp("batch")
    paths = contents(folder / "in")
    paths[3].write_bytes(b"bad")
    planned = by_style(paths)
    batch(folder / f"whole{ending}", planned)
    out = folder / f"killed{ending}"
    for kill_point in (events, more):
        with suppress(KeyboardInterrupt):
            batch(out, planned, engine=InProcess(kill_point))
    batch(out, planned)
    assert files(out) == files(folder / f"whole{ending}")


def test_a_worker_that_is_killed_is_replaced(tmp_path: Path) -> None:
    planned = by_style(contents(tmp_path / "in"))
    batch(tmp_path / "whole", planned)
    stub = Stub(log=str(tmp_path / "log"), deadly="content 2", killed=str(tmp_path / "killed"))
    said: list[str] = []
    tally = batch(tmp_path / "out", planned, stub, LocalEngine(workers=2, nice=0, say=said.append))
    assert (tmp_path / "killed").exists()
    assert tally.states == {"made": 20}
    assert "A worker died (SIGKILL); its rows are made again." in said
    assert any(re.fullmatch(r"2 workers with 1 thread each, about \d+ MiB each\.", sentence) for sentence in said)
    assert json.loads((tmp_path / "out" / REPORT).read_text())["worker_deaths"] == 1
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def test_a_row_that_kills_its_workers_is_given_up_and_the_others_are_made(tmp_path: Path) -> None:
    planned = list(rows(contents(tmp_path / "in", 3), "ab"))
    engine = LocalEngine(workers=2, retries=1, nice=0)
    tally = batch(tmp_path / "out", planned, Stub(together=1, deadly="content 1"), engine)
    assert tally.states == {"made": 4, "failed": 2}
    assert list(tally.reasons) == ["The workers that made this row were killed: there may be too little memory for it."]
    table = pq.read_table(tmp_path / "out" / "table").to_pylist()
    assert [entry["row"] for entry in table if entry["state"] == FAILED] == [2, 3]


def test_rows_that_cannot_be_read_are_told_one_by_one(tmp_path: Path) -> None:
    paths = contents(tmp_path / "in", 3)
    paths[0].write_bytes(b"bad")
    paths[1].unlink()
    tally = batch(tmp_path / "out", rows(paths, "a"))
    assert tally.states == {"made": 1, "failed": 2}
    assert tally.reasons == {f"{paths[0]} is no picture.": 1, f"There is no file {paths[1]}: check the name.": 1}
    paths[0].write_bytes(b"content 0")  # put right, it is made by the same plan
    assert batch(tmp_path / "out", rows(paths, "a")).states == {"made": 1, "kept": 1, "failed": 1}


def test_another_content_or_setting_is_another_result(tmp_path: Path) -> None:
    paths = contents(tmp_path / "in", 2)
    batch(tmp_path / "out", rows(paths, "a"), Stub(together=1))
    paths[1].write_bytes(b"another")
    assert batch(tmp_path / "out", rows(paths, "a"), Stub(together=1)).states == {"kept": 1, "made": 1}
    longer = [*rows(paths, "a"), Row(2, str(paths[0]), "a", "stub", '{"steps": 3}', 0, "x")]
    assert batch(tmp_path / "out", longer, Stub(together=1)).states == {"kept": 2, "made": 1}


def test_parquet_holds_the_pictures(tmp_path: Path) -> None:
    planned = list(rows(contents(tmp_path / "in")))
    batch(tmp_path / "folder", planned)
    batch(tmp_path / "out.parquet", planned)
    table = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert len(table) == 20
    assert all(entry["bytes"] == (tmp_path / "folder" / entry["picture"]).read_bytes() for entry in table)
    assert batch(tmp_path / "out.parquet", planned).states == {"kept": 20}
    assert not [name for name in files(tmp_path / "out.parquet") if name.endswith(".txt")]


class Scheduled:
    """An engine that only takes what it is given: each row ends at once."""

    name = "scheduled"
    settings = {}  # noqa: RUF012

    def run(self, job: Job, plan: Plan) -> Iterator[Outcome]:
        for share in plan.all_shares():
            for row in share.rows:
                yield Outcome(row.number, MADE, "picture", "request", "sha256")


def test_100_000_rows_are_scheduled_in_bounded_memory(tmp_path: Path) -> None:
    def planned(count: int) -> Iterator[Row]:
        for number in range(count):
            style = f"style {number % 7}"
            yield Row(number, f"/contents/{number}.png", style, "stub", "{}", number, style)

    def peak(count: int) -> int:
        place = Place(str(tmp_path / f"{count}"))
        tracemalloc.start()
        plan = write_plan(planned(count), place, Cut())
        tally = run_batch(plan, Job(STUB, Results(place, plan.name)), Scheduled(), lambda tally: None)  # type: ignore[arg-type]
        assert tally.states == {"made": count}
        return tracemalloc.get_traced_memory()[1]

    try:
        few, many = peak(2_000), peak(100_000)
    finally:
        tracemalloc.stop()
    assert sum(pq.read_metadata(file).num_rows for file in (tmp_path / "100000" / "table").iterdir()) == 100_000
    assert many < few + 3 * 2**20  # 30 bytes a row: the working form of the plan, while it is written


def test_sigterm_keeps_what_is_done(tmp_path: Path) -> None:
    planned = f"""
from pathlib import Path
from tests.test_batch import batch, by_style, contents
from tests.batch_stub import Stub
from velatura.batch.local import LocalEngine
if __name__ == "__main__":
    batch(Path({str(tmp_path / "out")!r}), by_style(contents(Path({str(tmp_path / "in")!r}))),
          Stub(seconds=0.2, log={str(tmp_path / "log")!r}), LocalEngine(workers=2, nice=0))
"""
    (tmp_path / "program.py").write_text(planned)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    program = subprocess.Popen([sys.executable, str(tmp_path / "program.py")], env=environment, stderr=subprocess.PIPE)
    while not (tmp_path / "log").exists():
        assert program.poll() is None
        time.sleep(0.05)
    program.send_signal(signal.SIGTERM)
    assert b"what is done is kept" in program.communicate(timeout=60)[1]
    made = len((tmp_path / "log").read_text().splitlines())
    kept = len(list((tmp_path / "out").glob("*.txt")))
    assert 0 < kept == made < 20
    assert json.loads((tmp_path / "out" / REPORT).read_text())["stopped"] is True
    assert batch(tmp_path / "out", by_style(contents(tmp_path / "in"))).states["kept"] == kept


def test_what_a_store_does_for_a_while_is_tried_again() -> None:
    answers = iter([ConnectionError(), TimeoutError(), b"there"])

    def ask() -> bytes:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert Patience(3, 0).call(ask) == b"there"
    answers = iter([FileNotFoundError(), b"there"])
    with pytest.raises(FileNotFoundError):
        Patience(3, 0).call(ask)
    answers = iter([ConnectionError(), ConnectionError("gone")])
    with pytest.raises(ConnectionError, match="gone"):
        Patience(2, 0).call(ask)


def test_bad_input_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="The plan has no rows"):
        write_plan([], Place(str(tmp_path)), CUT)
    with pytest.raises(SettingError, match="window must be from 1 to 100000, not 0"):
        Cut(window=0)
    with pytest.raises(SettingError, match=r"nowhere://x cannot be used .*: install what its protocol needs"):
        Place("nowhere://x").read("y")
    with pytest.raises(SettingError, match="retries must be from 0 to 100, not -1"):
        LocalEngine(retries=-1)
    (tmp_path / "file").write_text("")
    with pytest.raises(TargetError, match="cannot be written"):
        Place(str(tmp_path / "file")).write("name", b"")


class Helpless(Stub):
    """A runner whose model is missing."""

    def __call__(self) -> Stub:
        raise VelaturaError("There is no model.")


def test_what_no_worker_can_do_ends_the_batch(tmp_path: Path) -> None:
    with pytest.raises(VelaturaError, match=r"^There is no model\.$"):
        batch(tmp_path / "out", rows(contents(tmp_path / "in")), Helpless(), LocalEngine(nice=0))
