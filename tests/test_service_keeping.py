"""What a server keeps: the styles of jobs whatever becomes of their names, and removed jobs for a while."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from tests.service_client import API, HOST, submit, upload, wait
from tests.tiny_service import asked, png, tiny_service
from velatura.service import removed_jobs
from velatura.service.http import create_app
from velatura.service.jobs import Submission
from velatura.service.requests import StylizeRequest
from velatura.service.service import Service

pytest_plugins = ("tests.service_fixtures",)


def add_style(service: Service, name: str, seed: int = 2) -> None:
    service.studio.library.add(service.studio.fit(png(seed), name), replace=True)


def in_style(content: str, *names: str) -> dict[str, Any]:
    return asked(content, "", styles=[{"style": name} for name in names])


def pixels(client: TestClient, job: dict[str, Any]) -> np.ndarray[Any, Any]:
    done = wait(client, job["id"])
    assert done["state"] == "done", done
    return np.asarray(Image.open(io.BytesIO(client.get(f"{API}/jobs/{job['id']}/result").content)))


def test_a_result_is_made_again_whatever_became_of_its_style(service: Service, client: TestClient) -> None:
    add_style(service, "waves")
    content = upload(client, 1)
    first = submit(client, in_style(content, "waves"))
    made = pixels(client, first)
    assert first["styles"] == [{**first["styles"][0], "style": "waves", "name": "waves", "missing": False}]
    assert client.patch(f"{API}/styles/waves", json={"name": "sea"}).status_code == 200
    assert np.array_equal(pixels(client, submit(client, first["request"])), made)
    assert client.delete(f"{API}/styles/sea").status_code == 200
    assert np.array_equal(pixels(client, submit(client, first["request"])), made)
    add_style(service, "waves", seed=5)  # another style under the old name
    assert np.array_equal(pixels(client, submit(client, first["request"])), made)
    assert not np.array_equal(pixels(client, submit(client, in_style(content, "waves"))), made)
    shown = [style for job in client.get(f"{API}/history").json() for style in job["styles"]]
    assert len(shown) == 5 and not any(style["missing"] for style in shown)


def test_a_region_keeps_its_style_too(service: Service, client: TestClient) -> None:
    add_style(service, "waves")
    content = upload(client, 1)
    regions = [{"where": "box:0,0,40,40", "style": "waves"}, {"where": "segment:1", "style": "text:ink"}]
    job = submit(client, asked(content, "", styles=[], regions=regions))
    assert [bool(region["kept"]) for region in job["request"]["regions"]] == [True, False]
    assert [style["name"] for style in job["styles"]] == ["waves", "ink"]


def test_removing_a_style_leaves_the_jobs_that_wait_for_it(tmp_path: Path) -> None:
    service = tiny_service(tmp_path / "data")
    client = TestClient(create_app(service), base_url=HOST)  # not started: the jobs wait
    add_style(service, "waves")
    content = upload(client, 1)
    job = submit(client, in_style(content, "waves"))
    undo = client.delete(f"{API}/styles/waves").json()["undo"]
    refused = client.post(f"{API}/jobs", json=in_style(content, "waves"))
    assert refused.status_code == 404 and refused.json()["error"].startswith("There is no style 'waves'")
    with TestClient(create_app(service), base_url=HOST) as started:
        assert wait(started, job["id"])["state"] == "done"
        assert started.post(f"{API}/styles/undo", json={"undo": undo}).status_code == 200


def test_the_same_key_is_the_same_job_after_its_style_was_renamed(service: Service, client: TestClient) -> None:
    add_style(service, "waves")
    request, key = in_style(upload(client, 1), "waves"), {"Idempotency-Key": "one"}
    first = client.post(f"{API}/jobs", json=request, headers=key)
    client.patch(f"{API}/styles/waves", json={"name": "sea"})
    again = client.post(f"{API}/jobs", json=request, headers=key)
    assert (first.status_code, again.status_code) == (202, 200) and again.json()["id"] == first.json()["id"]
    assert client.post(f"{API}/jobs", json=first.json()["request"], headers=key).json()["id"] == first.json()["id"]
    other = client.post(f"{API}/jobs", json={**request, "seed": 9}, headers=key)
    assert other.status_code == 409


def test_a_job_of_an_earlier_version_says_which_style_is_gone(service: Service, client: TestClient) -> None:
    request = StylizeRequest.model_validate(in_style(upload(client, 1), "gone"))
    job, _ = service.jobs.add(Submission(request, "photo in gone"))
    ended = wait(client, job.id)
    assert ended["state"] == "failed" and "There is no style 'gone'" in ended["reason"]
    assert ended["styles"] == [{"style": "gone", "name": "gone", "kept": "", "missing": True}]


def test_a_copy_that_is_not_there_is_refused(service: Service, client: TestClient) -> None:
    add_style(service, "waves")
    request = in_style(upload(client, 1), "waves")
    request["styles"][0]["kept"] = "0" * 64
    assert client.post(f"{API}/jobs", json=request).status_code == 404
    request["styles"][0]["kept"] = "../../etc/passwd"
    assert client.post(f"{API}/jobs", json=request).status_code == 422


def test_a_removed_result_is_brought_back_with_its_files(service: Service, client: TestClient) -> None:
    content, style = upload(client, 1), upload(client, 2)
    key = {"Idempotency-Key": "one"}
    job = client.post(f"{API}/jobs", json=asked(content, style), headers=key).json()
    made = pixels(client, job)
    removed = client.delete(f"{API}/history/{job['id']}").json()
    assert removed["id"] == job["id"]
    for path in ("", "/result", "/manifest", "/small", "/events"):
        assert client.get(f"{API}/jobs/{job['id']}{path}").status_code == 404, path
    assert client.get(f"{API}/history").json() == []
    assert client.delete(f"{API}/history/{job['id']}").status_code == 404
    later = client.post(f"{API}/jobs", json=asked(content, style), headers=key)
    assert later.status_code == 202 and later.json()["id"] != job["id"]  # the key is free
    wait(client, later.json()["id"])
    undo = {"undo": removed["undo"]}
    back = client.post(f"{API}/jobs/undo", json=undo)
    assert back.status_code == 200 and back.json()["id"] == job["id"] and back.json()["state"] == "done"
    assert np.array_equal(pixels(client, job), made)
    assert [each["id"] for each in client.get(f"{API}/history").json()] == [later.json()["id"], job["id"]]
    assert client.post(f"{API}/jobs/undo", json=undo).status_code == 404
    running = submit(client, asked(content, style, settings={"steps": 1000}))
    assert client.delete(f"{API}/history/{running['id']}").status_code == 422
    client.delete(f"{API}/jobs/{running['id']}")


def test_the_oldest_removed_results_are_deleted_for_good(
    service: Service, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(removed_jobs, "MOST_REMOVED", 1)
    add_style(service, "waves")
    content, data = upload(client, 1), service.settings.data
    jobs = [submit(client, in_style(content, "waves")) for _ in range(2)]
    for job in jobs:
        wait(client, job["id"])
    first, second = (client.delete(f"{API}/history/{job['id']}").json()["undo"] for job in jobs)
    assert [path.name for path in (data / "removed-results").iterdir()] == [second]
    assert client.post(f"{API}/jobs/undo", json={"undo": first}).status_code == 404
    assert len([*(data / "kept-styles").rglob("*.safetensors")]) == 1  # the second may come back
    last = submit(client, asked(content, upload(client, 2)))
    wait(client, last["id"])
    client.delete(f"{API}/history/{last['id']}")
    assert not [*(data / "kept-styles").rglob("*.safetensors")]
    assert not [*(data / "results").rglob("picture.png")]


def test_a_removal_that_was_broken_off_can_be_undone(service: Service, client: TestClient) -> None:
    job = submit(client, asked(upload(client, 1), upload(client, 2)))
    made = pixels(client, job)
    undo = client.delete(f"{API}/history/{job['id']}").json()["undo"]
    removed = service.settings.data / "removed-results" / undo
    removed.rename(service.results.folder(job["id"]))  # as after a crash before the files were moved
    assert client.post(f"{API}/jobs/undo", json={"undo": undo}).status_code == 200
    assert np.array_equal(pixels(client, job), made)
