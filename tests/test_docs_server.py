"""The pages about the server: its commands start one, and their client and curl get a picture from it."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.docs_pages import ROOT, blocks, commands
from tests.tiny_service import png, served, tiny_service, wait_for
from velatura.client import Client

pytestmark = pytest.mark.service
PAGES = (ROOT / "docs" / "page.md", ROOT / "docs" / "service.md")
STANDARD = "http://127.0.0.1:7860"


@pytest.mark.parametrize(
    "call",
    [pytest.param(call, id=f"{page.stem}-{index}") for page in PAGES for index, call in enumerate(commands(page))],
)
def test_the_server_starts_as_the_pages_say_and_ends(tmp_path: Path, call: list[str]) -> None:
    command = [sys.executable, "-c", "from velatura.app.cli import main; main()", *call, "--port", "0"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as started:
        try:
            assert started.stdout is not None
            wait_for(next(line.split()[-1] for line in started.stdout if "http://" in line))
            started.send_signal(signal.SIGTERM)
            assert started.wait(30) in (0, -signal.SIGTERM)
        finally:
            started.kill()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "photo.jpg").write_bytes(png(1))
    (tmp_path / "painting.jpg").write_bytes(png(2))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_client_of_the_page_writes_a_picture(folder: Path) -> None:
    (code,) = blocks(ROOT / "docs" / "service.md", "python", excepted=True)
    with served(tiny_service(folder / "data", port=0)) as url:
        exec(compile(code.replace(STANDARD, url.rstrip("/")), "snippet", "exec"), ModuleType("snippet").__dict__)
    assert (folder / "out.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.skipif(not (shutil.which("curl") and shutil.which("jq")), reason="curl or jq is not installed")
def test_curl_on_the_page_queues_a_job_that_is_done(folder: Path) -> None:
    (code,) = (each for each in blocks(ROOT / "docs" / "service.md", "sh", excepted=True) if "curl" in each)
    with served(tiny_service(folder / "data", port=0)) as url, Client(url) as client:
        told = subprocess.run(
            ["bash", "-c", code.replace(STANDARD, url.rstrip("/"))], capture_output=True, text=True, check=True
        )
        job = client.wait(json.loads(told.stdout)["id"])
    assert job.state == "done" and job.title == "photo in painting · guided"
