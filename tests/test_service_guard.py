"""Who may come in: host names, tokens, origins, sizes and rates; and what the log holds."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from tests.tiny_service import png, tiny_service
from velatura.page.serving import add_page
from velatura.service.guard import Rates
from velatura.service.http import create_app

API = "/api/v1"
HOST = "127.0.0.1:7860"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> TestClient:
    """An app that is not started: nothing runs behind its door."""
    service = tiny_service(tmp_path_factory.mktemp("guarded") / "data", upload=1, pixels=1, names=("pictures.example",))
    return TestClient(create_app(service), base_url=f"http://{HOST}")


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[TestClient]:
    service = tiny_service(tmp_path / "data", token="s3cret")
    yield TestClient(create_app(service), base_url=f"http://{HOST}", follow_redirects=False)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:7860", 200),
        ("127.0.0.1", 200),
        ("[::1]:7860", 200),
        ("192.168.0.7:7860", 200),
        ("pictures.example", 200),
        ("attacker.example:7860", 421),
        ("127.0.0.1.attacker.example", 421),
        ("localhost.attacker.example", 421),
        ("", 421),
        ("[::1", 421),
    ],
)
def test_a_rebound_name_is_not_answered(client: TestClient, host: str, status: int) -> None:
    assert client.get(f"{API}/styles", headers={"Host": host}).status_code == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 201),
        ({"Origin": f"http://{HOST}"}, 201),
        ({"Origin": f"http://{HOST}", "Sec-Fetch-Site": "same-origin"}, 201),
        ({"Origin": "http://attacker.example"}, 403),
        ({"Origin": "http://127.0.0.1:9000"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
    ],
)
def test_another_sites_page_changes_nothing(client: TestClient, headers: dict[str, str], status: int) -> None:
    answer = client.post(f"{API}/pictures", files={"file": ("a.png", png(1))}, headers=headers)
    assert answer.status_code == status, answer.text
    assert "access-control-allow-origin" not in answer.headers


def test_a_simple_forms_text_is_no_json(client: TestClient) -> None:
    answer = client.post(f"{API}/jobs", content='{"kind": "fit"}', headers={"Content-Type": "text/plain"})
    assert answer.status_code in (415, 422)


def test_a_token_is_asked_for_everywhere_but_for_health_and_the_pages_own_files(tmp_path: Path) -> None:
    service = tiny_service(tmp_path / "data", token="s3cret")
    guarded = TestClient(add_page(create_app(service), service), base_url=f"http://{HOST}", follow_redirects=False)
    job = "0" * 32
    for path in (
        f"{API}/styles", "/metrics", f"{API}/openapi.json", "/nowhere", "/page/data/choices", f"/page/data/jobs/{job}",
        f"/page/data/why/{job}", "/page/data", f"{API}/jobs/{job}/events",
    ):  # fmt: skip
        assert guarded.get(path).status_code == 401, path
    assert guarded.post("/page/data/choices", json={}).status_code == 401
    for path in ("/", "/?token=wrong", "/page/style.css", "/page/js/main.js"):
        assert guarded.get(path).status_code == 200, path  # the page, which asks for the token
    for path in ("/page/../api/v1/styles", "/page/x/../data/choices", "/page//data/choices"):
        assert guarded.get(path).status_code in (401, 404), path
    assert guarded.get("/healthz").status_code == 503  # the worker was not started
    for given in ("Bearer wrong", "Bearer ", "Basic s3cret", "Bearer s3cré"):
        assert guarded.get(f"{API}/styles", headers={"Authorization": given.encode()}).status_code == 401
    assert guarded.get(f"{API}/styles", headers={"Authorization": "Bearer s3cret"}).status_code == 200
    assert guarded.post(f"{API}/styles/undo?token=s3cret", json={}).status_code == 401


def test_a_browser_brings_the_token_once(guarded: TestClient) -> None:
    assert guarded.get(f"{API}/history?token=wrong").status_code == 401
    answer = guarded.get(f"{API}/history?search=cat&token=s3cret")
    assert answer.status_code == 303 and answer.headers["location"] == f"{API}/history?search=cat"
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie and "s3cret" not in cookie
    assert guarded.get(answer.headers["location"]).status_code == 200
    assert (
        guarded.get(f"http://{HOST}//attacker.example/?token=s3cret")
        .headers["location"]
        .startswith("/attacker.example")
    )


def test_what_is_too_large_is_not_read(client: TestClient) -> None:
    large = b"x" * (2**20 + 1)
    assert client.post(f"{API}/pictures", files={"file": ("a.png", large)}).status_code == 413

    def pieces() -> Iterator[bytes]:
        for _ in range(64):
            yield b"x" * 2**15

    chunked = client.post(f"{API}/jobs", content=pieces(), headers={"Content-Type": "application/json"})
    assert chunked.status_code == 413 and "MiB" in chunked.json()["error"]
    assert client.post(f"{API}/jobs", content=b"", headers={"Content-Length": "-1"}).status_code == 413
    many = client.post(f"{API}/pictures", files={"file": ("a.png", png(1, 1001, 1000))})
    assert many.status_code == 422 and "over the limit" in many.json()["error"]


def test_too_many_changes_in_a_minute_are_refused(tmp_path: Path) -> None:
    client = TestClient(create_app(tiny_service(tmp_path / "data", rate=3)), base_url=f"http://{HOST}")
    codes = [client.post(f"{API}/styles/undo", json={"undo": "0" * 32}).status_code for _ in range(4)]
    assert codes == [404, 404, 404, 429]
    assert client.get(f"{API}/styles").status_code == 200  # reading is free
    rates = Rates(60)
    assert [rates.wait("a", 0.0) for _ in range(61)] == [0.0] * 60 + [1.0]
    assert rates.wait("b", 0.0) == 0.0 and rates.wait("a", 1.0) == 0.0


def test_the_log_holds_no_names_and_no_queries(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "velatura"):
        client.post(f"{API}/pictures", files={"file": ("my-secret.png", png(1))})
        client.get(f"{API}/styles/my-secret")
        client.get(f"{API}/history", params={"search": "my-secret"})
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("velatura")]
    assert len(ours) == 3 and not any("secret" in line for line in ours)
    assert any("/styles/{name} 404" in line for line in ours)


def test_answers_tell_browsers_to_guess_and_share_nothing(client: TestClient) -> None:
    headers = client.get(f"{API}/styles").headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-resource-policy"] == "same-origin"
