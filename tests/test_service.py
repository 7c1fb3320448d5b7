"""The HTTP API in this process: jobs from submission to result, history, styles, masks, and what it refuses."""

from __future__ import annotations

import io
import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from tests.service_client import API, HOST, moments, submit, upload, wait
from tests.tiny_service import FOLLOWED, QUICK, asked, png, tiny_service
from velatura.errors import SettingError
from velatura.picture import read_manifest
from velatura.registry import NAMES
from velatura.service.http import create_app
from velatura.service.requests import NO_PATHS
from velatura.service.service import Service
from velatura.service.settings import ServiceSettings

pytest_plugins = ("tests.service_fixtures",)

LEAST = {"steps": 2, "weights": {"mse": 0.3}}  # one cheap step


def test_a_job_is_followed_to_its_result_which_is_the_studios(service: Service, client: TestClient) -> None:
    content, style = upload(client, 1, "C:\\secret\\photo <b>.png"), upload(client, 2)
    job = submit(client, asked(content, style, seed=3, settings=FOLLOWED))
    assert job["state"] == "queued" and job["title"] == "photo b in photo · guided"
    seen = moments(client, job["id"])
    assert [name for name, _ in seen][-1] == "done"
    previews = [moment["preview"] for name, moment in seen if name != "phase" and moment["preview"]]
    assert previews and all(preview.startswith("data:image/jpeg;base64,") for preview in previews)
    result = client.get(f"{API}/jobs/{job['id']}/result")
    path = service.results.path(job["id"])
    assert result.content == path.read_bytes()
    manifest = read_manifest(path)
    assert manifest == client.get(f"{API}/jobs/{job['id']}/manifest").json() == service.results.manifest(job["id"])
    assert manifest["seed"] == 3 and manifest["content"]["file"] == "photo b" and "secret" not in json.dumps(manifest)
    same = service.studio.stylize(png(1), png(2), seed=3, method="guided", **{**QUICK, **FOLLOWED})
    assert np.array_equal(np.asarray(same.picture), np.asarray(Image.open(io.BytesIO(result.content)).convert("RGB")))
    assert client.get(f"{API}/jobs/{job['id']}/small").headers["content-type"] == "image/jpeg"


def test_regions_by_mask_box_and_segment_leave_the_rest(client: TestClient) -> None:
    content, style = upload(client, 1), upload(client, 2)
    buffer = io.BytesIO()
    mask = Image.new("L", (64, 64))
    mask.paste(255, (0, 0, 32, 64))
    mask.save(buffer, "PNG")
    mask_id = client.post(f"{API}/pictures", files={"file": ("m.png", buffer.getvalue())}).json()["id"]
    regions = [{"where": f"mask:{mask_id}", "style": f"picture:{style}"}]
    job = wait(client, submit(client, asked(content, style, styles=[], regions=regions))["id"])
    assert job["state"] == "done", job
    made = np.asarray(Image.open(io.BytesIO(client.get(f"{API}/jobs/{job['id']}/result").content)).convert("RGB"))
    before = np.asarray(Image.open(io.BytesIO(png(1))).convert("RGB"))
    assert np.array_equal(made[:, 40:], before[:, 40:]) and not np.array_equal(made[:, :24], before[:, :24])
    layer = next(iter(job["outcome"]["layers"]))
    assert client.get(f"{API}/jobs/{job['id']}/layers/{layer}").headers["content-type"] == "image/png"
    assert client.get(f"{API}/jobs/{job['id']}/layers/other").status_code == 404
    for where in ("box:8,8,40,40", "point:20,20", "segment:1", f"not:mask:{mask_id}"):
        found = client.post(f"{API}/masks", json={"picture": content, "where": [where], "grow": 1})
        assert found.status_code == 200, found.text
        assert Image.open(io.BytesIO(found.content)).size == (64, 64)
    numbers = np.asarray(Image.open(io.BytesIO(client.get(f"{API}/pictures/{content}/segments").content)))
    assert numbers.min() >= 1


def test_the_same_key_is_the_same_job(client: TestClient) -> None:
    content, style = upload(client, 1), upload(client, 2)
    key = {"Idempotency-Key": "one"}
    first = client.post(f"{API}/jobs", json=asked(content, style), headers=key)
    again = client.post(f"{API}/jobs", json=asked(content, style), headers=key)
    assert (first.status_code, again.status_code) == (202, 200) and first.json()["id"] == again.json()["id"]
    other = client.post(f"{API}/jobs", json=asked(content, style, seed=1), headers=key)
    assert other.status_code == 409 and "another request" in other.json()["error"]
    assert len(client.get(f"{API}/history").json()) == 1


def test_cancelling_stops_a_running_job_within_a_step_and_a_queued_one_at_once(
    service: Service, client: TestClient
) -> None:
    content, style = upload(client, 1), upload(client, 2)
    running = submit(client, asked(content, style, settings={"steps": 1000}))
    queued = submit(client, asked(content, style))
    for moment in service.watch(running["id"]):
        if moment.live and moment.live.step >= 2:
            break
    assert client.delete(f"{API}/jobs/{queued['id']}").json()["state"] == "cancelled"
    assert client.delete(f"{API}/jobs/{running['id']}").json()["state"] == "cancelled"
    last = wait(client, submit(client, asked(content, style, seed=2))["id"])
    assert last["state"] == "done"
    assert client.get(f"{API}/jobs/{running['id']}/result").status_code == 404
    assert client.delete(f"{API}/jobs/{last['id']}").json()["state"] == "done"
    states = {job["state"] for job in client.get(f"{API}/history").json()}
    assert states == {"done", "cancelled"}


def test_a_full_queue_answers_429_and_says_when(tmp_path: Path) -> None:
    service = tiny_service(tmp_path / "data", queue=2)
    client = TestClient(create_app(service), base_url=HOST)  # not started: nothing is taken out
    content, style = upload(client, 1), upload(client, 2)
    for seed in (1, 2):
        submit(client, asked(content, style, seed=seed))
    full = client.post(f"{API}/jobs", json=asked(content, style, seed=3))
    assert full.status_code == 429 and int(full.headers["Retry-After"]) >= 1
    assert client.get(f"{API}/jobs/{'0' * 32}").status_code == 404
    assert client.get("/healthz").status_code == 503


def test_fifty_jobs_from_several_threads_lose_none(service: Service, client: TestClient) -> None:
    content, style = upload(client, 1), upload(client, 2)
    ids: list[str] = []

    def send(first: int) -> None:
        for seed in range(first, first + 10):
            ids.append(submit(client, asked(content, style, seed=seed, settings=LEAST))["id"])

    threads = [threading.Thread(target=send, args=(10 * number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(ids)) == 50
    assert {wait(client, job_id)["state"] for job_id in ids} == {"done"}
    assert all(service.results.path(job_id).is_file() for job_id in ids)
    counted = client.get("/metrics").text
    assert 'velatura_jobs_total{end="done",kind="stylize"} 50.0' in counted and "velatura_jobs_queued 0.0" in counted


def test_jobs_that_differ_in_their_contents_share_passes(tmp_path: Path) -> None:
    service = tiny_service(tmp_path / "data")
    client = TestClient(create_app(service), base_url=HOST)
    contents, style = [upload(client, seed) for seed in (1, 3, 4)], upload(client, 2)
    settings = {"steps": 4, "strength": 0.5, "size": 64, "fit_steps": 2, "fit_batch": 2, "fit_views": 2, "fit_size": 64}
    jobs = [
        submit(client, {**asked(content, style), "method": "s2prest", "settings": settings}) for content in contents
    ]
    cancelled = client.delete(f"{API}/jobs/{jobs[1]['id']}").json()
    with TestClient(create_app(service), base_url=HOST) as started:
        done = [wait(started, jobs[index]["id"]) for index in (0, 2)]
        assert [job["state"] for job in done] == ["done", "done"], done
        assert [service.results.manifest(job["id"])["batch"] for job in done] == [[0, 2], [1, 2]]
        assert wait(started, cancelled["id"])["state"] == "cancelled"


def test_after_a_crash_a_running_job_is_run_again_once(tmp_path: Path) -> None:
    service = tiny_service(tmp_path / "data")
    client = TestClient(create_app(service), base_url=HOST)
    content, style = upload(client, 1), upload(client, 2)
    ids = [submit(client, asked(content, style, seed=seed))["id"] for seed in (1, 2)]
    assert [job.id for job in service.jobs.claim({})] == ids[:1]
    assert service.jobs.recover() == ids[:1]
    assert [job.id for job in service.jobs.claim({})] == ids[:1]  # it kept its place
    assert service.jobs.recover() == []
    broken = service.jobs.get(ids[0])
    assert broken.state == "failed" and "stopped in the middle" in broken.reason
    assert service.jobs.get(ids[1]).state == "queued"


def test_a_job_that_fails_says_why_and_the_next_one_runs(client: TestClient) -> None:
    content, style = upload(client, 1), upload(client, 2)
    far = [{"where": "point:900,900", "style": f"picture:{style}"}]
    bad = wait(client, submit(client, asked(content, style, styles=[], regions=far))["id"])
    assert bad["state"] == "failed" and bad["reason"]
    assert wait(client, submit(client, asked(content, style))["id"])["state"] == "done"


def test_history_is_searched_paged_and_forgotten(client: TestClient) -> None:
    cat, style = upload(client, 1, "cat 100%.png"), upload(client, 2, "waves.png")
    dog = upload(client, 3, "dog.png")
    first = submit(client, asked(cat, style, group="sweep-1"))
    second = submit(client, asked(dog, style))
    for job in (first, second):
        wait(client, job["id"])

    def found(**query: str | int) -> list[str]:
        return [job["id"] for job in client.get(f"{API}/history", params=query).json()]

    assert found() == [second["id"], first["id"]]
    assert found(search="CAT waves") == found(search="sweep-1") == [first["id"]]
    assert found(search="%") == [] and found(search="dog cat") == []
    assert found(limit=1) == [second["id"]] and found(before=second["number"]) == [first["id"]]
    assert found(state="failed") == []
    again = submit(client, client.get(f"{API}/history").json()[0]["request"])
    assert wait(client, again["id"])["state"] == "done"
    assert client.delete(f"{API}/history/{first['id']}").status_code == 200
    assert first["id"] not in found() and client.get(f"{API}/jobs/{first['id']}/result").status_code == 404


def test_styles_are_fitted_renamed_removed_brought_back_mixed_and_carried(client: TestClient) -> None:
    pictures = [upload(client, seed, f"style{seed}.png") for seed in (2, 3)]
    for name, picture in zip(("one", "two"), pictures, strict=True):
        fit = {"kind": "fit", "name": name, "pictures": [picture], "method": "guided"}
        job = wait(client, client.post(f"{API}/styles", json=fit).json()["id"])
        assert job["state"] == "done" and job["outcome"]["style"] == name, job
    assert client.post(f"{API}/styles", json=fit).status_code == 422  # there is one of that name
    assert client.patch(f"{API}/styles/one", json={"name": "first one"}).json()["name"] == "first one"
    assert client.patch(f"{API}/styles/two", json={"name": "first one"}).status_code == 422
    assert client.patch(f"{API}/styles/two", json={"name": "../out"}).status_code == 422
    assert client.get(f"{API}/styles/first one/thumbnail").headers["content-type"] == "image/jpeg"
    parts = [{"style": "first one"}, {"style": "two", "weight": 3}]
    mixed = client.post(f"{API}/styles/mix", json={"name": "both", "parts": parts})
    assert mixed.status_code == 201 and mixed.json()["has_thumbnail"], mixed.text
    file = client.get(f"{API}/styles/both/file").content
    undo = client.delete(f"{API}/styles/both").json()["undo"]
    assert [style["name"] for style in client.get(f"{API}/styles").json()] == ["first one", "two"]
    assert client.post(f"{API}/styles/undo", json={"undo": undo}).json()["name"] == "both"
    assert client.post(f"{API}/styles/undo", json={"undo": undo}).status_code == 404
    assert client.get(f"{API}/styles/both/file").content == file
    imported = client.post(f"{API}/styles/import", files={"file": ("x", file)}, data={"name": "back"})
    assert imported.status_code == 201, imported.text
    content = upload(client, 1)
    request = asked(content, pictures[0], styles=[{"style": "back"}, {"style": "two", "weight": 2}])
    assert wait(client, submit(client, request)["id"])["state"] == "done"


def test_only_texts_that_are_no_paths_are_free(client: TestClient) -> None:
    free = {"prompt", "negative_prompt", "fit_prompt", "guidance_scaling"}
    methods = {method["name"]: method for method in client.get(f"{API}/methods").json()}
    for name in NAMES:
        for setting in methods[name]["settings"]:
            if setting["kind"] == "text" and not setting["choices"]:
                assert setting["name"] in free | set(NO_PATHS), (name, setting["name"])


@pytest.mark.parametrize(
    "change",
    [
        {"styles": [{"style": "/etc/passwd"}]},
        {"styles": [{"style": "http://127.0.0.1/a.png"}]},
        {"styles": [{"style": "../other"}]},
        {"styles": [], "regions": [{"where": "/etc/hostname", "style": "text:a"}]},
        {"styles": [], "regions": [{"where": "box: ", "style": "text:a"}]},
        {"styles": [], "regions": [{"where": "mask:../x", "style": "text:a"}]},
        {"styles": []},
        {"content": "0" * 64},
        {"content": "../../etc/passwd"},
        {"method": "other"},
        {"preset": "other"},
        {"seed": -1},
        {"settings": {"steps": "many"}},
        {"settings": {"strength": 2}},
        {"settings": {"strength": {"a": 1}}},
        {"settings": {"weights": 3}},
        {"settings": {"unknown": 1}},
        {"method": "s2prest", "settings": {"edges": "/etc/passwd"}},
        {"method": "s2prest-original", "settings": {"noise_file": "/etc/passwd"}},
        {"other": 1},
    ],
)
def test_what_is_wrong_is_refused_in_one_sentence_at_submission(client: TestClient, change: dict[str, Any]) -> None:
    content, style = upload(client, 1), upload(client, 2)
    answer = client.post(f"{API}/jobs", json={**asked(content, style), **change})
    assert answer.status_code in (404, 422), answer.text
    assert answer.json()["error"].endswith(".") and "\n" not in answer.json()["error"]
    assert client.get(f"{API}/history").json() == []


def test_hostile_files_are_refused_without_a_trace(service: Service, client: TestClient) -> None:
    for data in (b"", b"no picture", png(1)[:100], b"\x89PNG\r\n\x1a\n" + b"\0" * 100, b"<svg/>"):
        answer = client.post(f"{API}/pictures", files={"file": ("../../x.png", data)})
        assert answer.status_code == 422 and "error" in answer.json()
        style = client.post(f"{API}/styles/import", files={"file": ("../../x.safetensors", data)})
        assert style.status_code == 422 and str(service.settings.data) not in style.text
    assert not [*(service.settings.data / "pictures").rglob("*")]
    assert not [*(service.settings.data / "unpacked").rglob("*")]


def test_two_servers_do_not_share_a_folder(service: Service, client: TestClient, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="Another server"):
        tiny_service(tmp_path / "data").start()


def test_listening_elsewhere_needs_a_token() -> None:
    for host in ("0.0.0.0", "::", "192.168.0.7", "example.org", ""):
        with pytest.raises(SettingError, match="--token"):
            ServiceSettings(host=host)
        assert ServiceSettings(host=host, token="secret").host == host
    assert ServiceSettings(host="::1").token == ""
