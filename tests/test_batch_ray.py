"""A batch on a real Ray cluster of two workers, one of which is killed: each result once, the same as by one loop."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.batch_stub import Stub
from tests.test_batch import Helpless, batch, by_style, contents, files, rows
from velatura.batch.on_ray import RayEngine
from velatura.errors import SettingError, VelaturaError

pytestmark = pytest.mark.ray
ENGINE = RayEngine(workers=2, retries=2)


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    os.environ |= {"RAY_worker_register_timeout_seconds": "600", "RAY_worker_niceness": "0"}  # others may work here
    import ray

    # The actors' processes find the tests' modules as this one does.
    environment = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=80 * 2**20,
        runtime_env={"env_vars": environment},
    )
    yield
    ray.shutdown()


def made(log: Path) -> list[tuple[int, int]]:
    """The processes and rows of what was made."""
    lines = log.read_text().splitlines() if log.exists() else []
    return [(int(process), int(row)) for process, row in (line.split() for line in lines)]


def test_two_actors_one_of_them_killed_give_what_one_loop_gives(tmp_path: Path) -> None:
    planned = by_style(contents(tmp_path / "in", 10))
    batch(tmp_path / "loop", planned)
    log = tmp_path / "log"
    victims: list[int] = []

    def kill() -> None:
        while len(made(log)) < 8:
            time.sleep(0.05)
        victims.append(made(log)[-1][0])
        os.kill(victims[0], signal.SIGKILL)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    tally = batch(tmp_path / "ray", planned, Stub(log=str(log), seconds=0.2), ENGINE)
    killer.join(10)
    assert victims and not psutil.pid_exists(victims[0])
    assert len({process for process, _ in made(log)}) >= 2
    assert tally.done == 40 and not tally.states["failed"]
    assert files(tmp_path / "ray") == files(tmp_path / "loop")
    assert tally.deaths == 1
    next((tmp_path / "ray" / ".batch").glob("*.json")).unlink()  # so that the actors look at what is there
    again = batch(tmp_path / "ray", planned, Stub(log=str(log)), ENGINE)
    assert again.states == {"kept": 40}
    assert files(tmp_path / "ray") == files(tmp_path / "loop")


def test_a_share_that_kills_its_actors_is_given_up(tmp_path: Path) -> None:
    planned = list(rows(contents(tmp_path / "in", 4), "ab"))
    tally = batch(tmp_path / "out", planned, Stub(together=1, deadly="content 1"), RayEngine(workers=2, retries=1))
    assert tally.states == {"made": 6, "failed": 2}
    assert list(tally.reasons) == ["Nothing was heard of this row: its workers died too often."]


def test_a_model_that_is_missing_ends_the_batch_with_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(VelaturaError, match=r"^There is no model\.$"):
        batch(tmp_path / "out", rows(contents(tmp_path / "in", 1)), Helpless(), ENGINE)


def test_gpus_may_be_a_fraction_within_reason() -> None:
    assert RayEngine(gpus=0.25).gpus == 0.25
    with pytest.raises(SettingError, match="gpus must be from 0 to 64, not -1"):
        RayEngine(gpus=-1)
