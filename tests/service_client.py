"""What tests of the HTTP API ask of it: upload, submit, wait, follow."""

from __future__ import annotations

import json
import time
from typing import Any

from fastapi.testclient import TestClient

from tests.tiny_service import png

API = "/api/v1"
HOST = "http://127.0.0.1:7860"


def upload(client: TestClient, seed: int, name: str = "photo.png") -> str:
    answer = client.post(f"{API}/pictures", files={"file": (name, png(seed))})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def wait(client: TestClient, job_id: str) -> dict[str, Any]:
    for _ in range(600):
        job: dict[str, Any] = client.get(f"{API}/jobs/{job_id}").json()["job"]
        if job["state"] not in ("queued", "running"):
            return job
        time.sleep(0.2)
    raise AssertionError("the job does not end")


def submit(client: TestClient, request: dict[str, Any], **headers: str) -> dict[str, Any]:
    answer = client.post(f"{API}/jobs", json=request, headers=headers)
    assert answer.status_code in (200, 202), answer.text
    return dict(answer.json())


def moments(client: TestClient, job_id: str) -> list[tuple[str, dict[str, Any]]]:
    found, event = [], ""
    with client.stream("GET", f"{API}/jobs/{job_id}/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            event = line.removeprefix("event: ") if line.startswith("event:") else event
            if line.startswith("data:"):
                found.append((event, json.loads(line.removeprefix("data:"))))
    return found
