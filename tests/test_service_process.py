"""The server as a program of its own: killed in the middle of work; asked by a schema's fuzzer; its client."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, given, seed, settings
from schemathesis.specs.openapi.checks import (
    positive_data_acceptance,
)

from tests.tiny_service import FOLLOWED, QUICK, asked, png, served, tiny_service, wait_for
from velatura.client import Client, ServerError
from velatura.service.service import Service
from velatura.service.settings import ServiceSettings

pytestmark = pytest.mark.service
ROOT = Path(__file__).parents[1]


@contextmanager
def program(data: Path) -> Iterator[tuple[Client, subprocess.Popen[str]]]:
    """A server in a process of its own, killed at the end."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "VELATURA_HOME": str(data.parent)}
    command = [sys.executable, "-m", "tests.tiny_service", str(data), "0"]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as started:
        assert started.stdout is not None
        try:
            url = started.stdout.readline().split()[-1]
            wait_for(url)
            with Client(url) as client:
                yield client, started
        finally:
            started.kill()


def test_a_server_killed_at_work_loses_no_job_and_doubles_none(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with program(data) as (client, process):
        content, style = client.upload(png(1)), client.upload(png(2))
        ids = [client.submit(asked(content, style, settings={"steps": 60}), key="0").id]
        ids += [client.submit(asked(content, style, seed=seed), key=str(seed)).id for seed in range(1, 11)]
        next(moment for moment in client.events(ids[0]) if moment.step >= 2)
        assert [client.job(job_id).state for job_id in ids] == ["running"] + ["queued"] * 10
        process.send_signal(signal.SIGKILL)
        process.wait()
    with program(data) as (client, process):
        again = [client.submit(asked(content, style, seed=seed), key=str(seed)).id for seed in range(1, 11)]
        assert again == ids[1:]  # a client that was not sure asks again, and nothing is done twice
        assert [client.wait(job_id).state for job_id in ids] == ["done"] * 11
        assert sorted(job.id for job in client.history()) == sorted(ids)
        assert len([*(data / "results").rglob("picture.png")]) == 11
        assert not [*data.rglob("*.part")]
        running = client.submit(asked(content, style, seed=99, settings={"steps": 1000})).id
        next(moment for moment in client.events(running) if moment.step >= 2)
        process.send_signal(signal.SIGTERM)  # an orderly end: the job goes back into the queue
        assert process.wait(30) in (0, -signal.SIGTERM)
    service = Service(ServiceSettings(data=data))
    assert service.jobs.get(running).state == "queued"


def test_the_client_does_what_the_api_can(tmp_path: Path) -> None:
    service = tiny_service(tmp_path / "data", port=0, token="s3cret")
    with served(service) as url, Client(url, "s3cret") as client:
        photo = tmp_path / "photo.png"
        photo.write_bytes(png(1))
        job = client.stylize(photo, png(2), seed=5, key="once", **{**QUICK, **FOLLOWED})
        seen = list(client.events(job.id))
        assert seen[-1].job.state == "done" and any(moment.preview[:2] == b"\xff\xd8" for moment in seen)
        assert client.result(job.id)[:4] == b"\x89PNG"
        assert client.stylize(photo, png(2), seed=5, key="once", **{**QUICK, **FOLLOWED}).id == job.id
        assert client.wait(client.fit([png(2)], "waves").id).state == "done"
        assert client.styles() == ["waves"]
        undo = client.remove_style("waves")
        client.restore_style(undo)
        assert client.wait(client.stylize(photo, "waves", **QUICK).id).state == "done"
        assert client.mask(client.upload(photo), "box:8,8,40,40")[:4] == b"\x89PNG"
        assert [found.id for found in client.history(search="waves", state="done")][-1:] != [job.id]
        assert client.cancel(job.id).state == "done"
        undo = client.remove_job(job.id)
        assert job.id not in [found.id for found in client.history()]
        assert client.restore_job(undo).id == job.id and client.result(job.id)[:4] == b"\x89PNG"
        with pytest.raises(ServerError, match="no style") as refused:
            client.stylize(photo, "other", **QUICK)
        assert refused.value.status == 404
        with Client(url) as stranger, pytest.raises(ServerError, match="token"):
            stranger.styles()
    with pytest.raises(ServerError, match="cannot be reached"):
        Client("http://127.0.0.1:9").styles()


def test_the_api_keeps_to_its_schema(tmp_path: Path) -> None:
    service = tiny_service(tmp_path / "data", port=0, rate=1_000_000, queue=5)
    broken: list[str] = []
    with served(service) as url:
        for found in schemathesis.openapi.from_url(f"{url}api/v1/openapi.json").get_all_operations():
            operation = found.ok()

            @settings(max_examples=12, deadline=None, suppress_health_check=[*HealthCheck], database=None)
            @seed(0)
            @given(case=operation.as_strategy())
            def ask(case: schemathesis.Case) -> None:
                # What is well formed can still name a picture, a style or a method that there is not.
                case.call_and_validate(excluded_checks=[positive_data_acceptance], timeout=30)

            try:
                ask()
            except Exception as error:
                broken.append(f"{operation.label}: {error!r}")
    assert not broken, "\n".join(broken)
