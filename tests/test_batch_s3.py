"""A batch whose plan, pictures and results lie on an S3 server; a worker and the server are killed in turn."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
import requests

from tests.batch_stub import Stub
from tests.s3_server import RECORDED
from tests.test_batch import CUT, InProcess, batch, by_style, contents
from velatura.app.batch_rows import Asked
from velatura.batch.local import LocalEngine
from velatura.batch.place import Patience, Place
from velatura.batch.plan import write_plan
from velatura.batch.plan_files import crossed, pictures_at, records_of
from velatura.batch.results import Results
from velatura.batch.row import Row
from velatura.batch.running import run_batch
from velatura.batch.work import Job
from velatura.style import StyleLibrary

pytestmark = pytest.mark.ray
BUCKET = "s3://photos"


class Server:
    """Moto's S3 server as a process, on one port in all its lives."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = {**os.environ, RECORDED: str(folder / "recorded")}

    def start(self) -> None:
        command = [sys.executable, "-m", "tests.s3_server", str(self.port)]
        self.process = subprocess.Popen(
            command, env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for _ in range(600):
            try:
                requests.get(f"{self.url}/moto-api/", timeout=1)
                return
            except requests.RequestException:
                time.sleep(0.1)
        raise AssertionError("The S3 server does not answer.")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    server = Server(tmp_path)
    monkeypatch.setenv("FSSPEC_S3_ENDPOINT_URL", server.url)
    for name in ("KEY", "SECRET"):
        monkeypatch.setenv(f"FSSPEC_S3_{name}", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    fsspec.config.set_conf_env(fsspec.config.conf)
    server.start()
    store().mkdir("photos")
    yield server
    server.kill()
    fsspec.config.conf.pop("s3", None)


def store() -> fsspec.AbstractFileSystem:
    return fsspec.filesystem("s3", use_listings_cache=False)


def on_s3(rows: list[Row], folder: Path) -> list[Row]:
    """The same rows, their contents put on the server."""
    for path in {row.content for row in rows}:
        store().pipe_file(f"photos/in/{Path(path).name}", Path(path).read_bytes())
    return [
        Row(row.number, f"{BUCKET}/in/{Path(row.content).name}", row.style, row.method, "{}", 0, row.group)
        for row in rows
    ]


def results(url: str) -> dict[str, bytes]:
    """The pictures of a batch, which do not depend on where they lie."""
    system, root = fsspec.core.url_to_fs(url)
    system.invalidate_cache()
    return {path.rpartition("/")[2]: system.cat_file(path) for path in system.glob(f"{root}/*.txt")}


def start(rows: list[Row], stub: Stub, patience: Patience) -> threading.Thread:
    """A batch on two worker processes that goes on beside the test."""

    def work() -> None:
        place = Place(f"{BUCKET}/out", patience)
        plan = write_plan(rows, place, CUT)
        job = Job(stub, Results(place, plan.name), patience)
        outcomes.append(run_batch(plan, job, LocalEngine(workers=2, nice=0), lambda tally: None).states)

    outcomes: list[object] = []
    thread = threading.Thread(target=work)
    thread.outcomes = outcomes  # type: ignore[attr-defined]
    thread.start()
    return thread


def test_a_worker_and_then_the_server_die_and_every_result_is_there_once(tmp_path: Path, server: Server) -> None:
    planned = by_style(contents(tmp_path / "in"))
    batch(tmp_path / "local", planned)
    stub = Stub(log=str(tmp_path / "log"), seconds=0.3, deadly="content 1", killed=str(tmp_path / "killed"))
    going = start(on_s3(planned, tmp_path), stub, Patience(tries=8, pause=0.5))
    while not (tmp_path / "log").exists() or len((tmp_path / "log").read_text().splitlines()) < 8:
        time.sleep(0.05)
        assert going.is_alive()
    server.kill()
    time.sleep(1)
    server.start()
    going.join(180)
    assert (tmp_path / "killed").exists()
    assert going.outcomes == [{"made": 20}]  # type: ignore[attr-defined]
    assert results(f"{BUCKET}/out") == results(str(tmp_path / "local"))
    assert len(results(f"{BUCKET}/out")) == 20
    assert len(store().ls("photos/out/table")) == 3


def test_a_plan_and_a_pattern_on_the_server_name_its_pictures(tmp_path: Path, server: Server) -> None:
    planned = by_style(contents(tmp_path / "in", 3))
    on_s3(planned, tmp_path)
    store().pipe_file("photos/in/c0.jpg", b"content 0")
    found = pictures_at([f"{BUCKET}/in/*.png", f"{BUCKET}/in"])
    assert found == [f"{BUCKET}/in/{name}" for name in ("c0.png", "c1.png", "c2.png", "c0.jpg")]
    store().pipe_file("photos/plan.csv", b"content,style,steps\ns3://photos/in/c0.png,text:ink,5\n")
    asked = Asked("guided", {}, StyleLibrary(tmp_path / "styles"))
    (row,) = asked.rows(records_of(f"{BUCKET}/plan.csv"), "plan.csv")
    assert (row.content, row.style, row.settings) == (f"{BUCKET}/in/c0.png", "text:ink", '{"steps": 5}')
    assert len(list(crossed(found, ["a", "b"], styles_first=True))) == 8


def test_parquet_on_the_server(tmp_path: Path, server: Server) -> None:
    planned = on_s3(by_style(contents(tmp_path / "in")), tmp_path)
    place = Place(f"{BUCKET}/out.parquet")
    for expected in ({"made": 20}, {"kept": 20}):
        plan = write_plan(planned, place, CUT)
        job = Job(Stub(), Results(place, plan.name))
        assert run_batch(plan, job, InProcess(), lambda tally: None).states == expected  # type: ignore[arg-type]
    assert len(store().glob("photos/out.parquet/*.parquet")) == 3
    assert place.names(f".batch/pictures/{plan.name}") == []
