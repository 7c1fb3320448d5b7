"""What a server answers: sentences for what is wrong, phases and previews while it works, help for settings."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from fastapi.testclient import TestClient
from PIL import Image
from sqlalchemy import create_engine, text

from tests.command_line import run
from tests.service_client import API, HOST, moments, submit, upload
from tests.tiny_house import tiny_house
from tests.tiny_service import asked, tiny_service
from velatura.methods.shared_settings import NOT_PUBLISHED
from velatura.methods.validation import setting_specs
from velatura.registry import NAMES, method_class
from velatura.service.files import without_paths
from velatura.service.http import create_app
from velatura.service.previews import FIRST_PIXELS, LEAST_PIXELS, Previewer, shrunk

pytest_plugins = ("tests.service_fixtures",)

JSON = "application/json"


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory) -> TestClient:
    """An app that is not started."""
    return TestClient(create_app(tiny_service(tmp_path_factory.mktemp("idle") / "data")), base_url=HOST)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"settings": {"prompt": "a" * 2001}}, "settings.prompt must have at most 2,000 characters."),
        ({"settings": {"prompt": "a\0"}}, "settings.prompt must not hold a NUL character."),
        ({"settings": {"steps": [1]}}, "settings.steps must be a number, a text, true or false, or numbers by name."),
        ({"group": "a\0"}, "group must not hold a NUL character."),
        ({"styles": [{"style": "text:a\0"}]}, "styles.0.style must not hold a NUL character."),
        ({"seed": -5}, "seed must be at least 0."),
        ({"seed": 2**63}, f"seed must be at most {2**63 - 1}."),
        ({"seed": "seven"}, "seed must be a whole number."),
        ({"content": "x"}, "content is none that this server gave out."),
        ({"kind": "paint"}, "The request must have 'kind' 'stylize' or 'fit'."),
        ({"styles": [{}]}, "styles.0.style is missing."),
        ({"colour": "red"}, "colour is nothing that such a request has."),
    ],
)
def test_what_does_not_fit_is_said_in_plain_words(idle: TestClient, change: dict[str, Any], sentence: str) -> None:
    answer = idle.post(f"{API}/jobs", json={**asked("0" * 64, "0" * 64), **change})
    assert answer.status_code == 422 and answer.json()["error"] == sentence


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        (
            b'{"settings": {"strength": NaN}, "kind": "stylize"}',
            "application/json",
            "settings.strength must be a finite",
        ),
        (
            b'{"settings": {"weights": {"mse": NaN}}, "kind": "stylize"}',
            "application/json",
            "settings.weights.mse must",
        ),
        (b'{"kind": ', "application/json", "The request's body is no JSON"),
        (b"{}", "text/plain", "must be a JSON object, sent as Content-Type: application/json"),
    ],
)
def test_a_broken_body_is_said_in_plain_words(idle: TestClient, body: bytes, kind: str, words: str) -> None:
    content = f'{{"content": "{"0" * 64}", '.encode()
    body = body.replace(b'{"settings"', content + b'"settings"')
    answer = idle.post(f"{API}/jobs", content=body, headers={"Content-Type": kind})
    error = answer.json()["error"]
    assert answer.status_code == 422 and words in error and error.endswith(".") and not error.endswith("..")


def test_a_form_without_its_boundary_is_one_sentence(idle: TestClient) -> None:
    answer = idle.post(f"{API}/pictures", content=b"x", headers={"Content-Type": "multipart/form-data"})
    assert answer.status_code in (400, 422) and not answer.json()["error"].endswith("..")


def test_a_search_with_a_nul_is_refused(idle: TestClient) -> None:
    answer = idle.get(f"{API}/history?search=%00")
    assert answer.status_code == 422 and answer.json()["error"] == "search must not hold a NUL character."


def test_a_refused_name_is_shown_as_it_was_sent_and_a_path_without_its_folders(idle: TestClient) -> None:
    picture = upload(idle, 1)
    fit = {"kind": "fit", "name": "../<b>x</b>", "pictures": [picture]}
    assert idle.post(f"{API}/styles", json=fit).json()["error"].startswith("'../<b>x</b>' cannot be a style's name")
    assert without_paths("The style file /home/me/styles/a b.safetensors is damaged.") == (
        "The style file a b.safetensors is damaged."
    )


def test_a_database_that_does_not_answer_is_said_and_waited_for(tmp_path: Path) -> None:
    service = tiny_service(tmp_path / "data")
    client = TestClient(create_app(service), base_url=HOST)
    content, style = upload(client, 1), upload(client, 2)
    engine = create_engine(service.settings.database_url)
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE jobs RENAME TO away"))
    for answer in (
        client.get(f"{API}/history"),
        client.get("/healthz"),
        client.post(f"{API}/jobs", json=asked(content, style)),
    ):
        assert answer.status_code == 503 and "database does not answer" in answer.json()["error"]
        assert int(answer.headers["Retry-After"]) >= 1
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE away RENAME TO jobs"))
    engine.dispose()
    assert client.get(f"{API}/history").json() == []


def test_a_model_that_cannot_be_loaded_ends_the_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("VELATURA_HOME", str(tmp_path))
    for command in ("serve", "ui"):
        assert run(monkeypatch, command, "--port", "0", "--model", "nope") == 2
        shown = capsys.readouterr()
        assert "There is no model 'nope'" in shown.err and "Traceback" not in shown.err
        assert "Velatura is at" not in shown.out


def test_a_picture_is_prepared_then_painted(client: TestClient) -> None:
    job = submit(client, asked(upload(client, 1), upload(client, 2), settings={"steps": 120}))
    seen = moments(client, job["id"])
    phases = [(moment["phase"], moment["step"], moment["steps"]) for name, moment in seen if name == "phase"]
    assert phases[0][0] == "preparing" and phases[-1][0] == "painting" and phases[-1][2] == 60
    order = [name for name, *_ in phases]
    assert order == sorted(order, reverse=True)  # preparing never comes after painting
    painted = [step for name, step, _ in phases if name == "painting"]
    assert painted == sorted(painted) and painted[0] >= 1
    assert any(moment["phase"] for name, moment in seen if name == "progress")
    assert seen[-1][0] == "done" and seen[-1][1]["phase"] is None


class Slow:
    """A backbone of pixels that takes its time for every one of them."""

    factor = 1

    def __init__(self, seconds_per_pixel: float) -> None:
        self.seconds_per_pixel = seconds_per_pixel

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        time.sleep(self.seconds_per_pixel * latents.shape[2] * latents.shape[3])
        return latents


def test_previews_are_as_large_as_the_machine_is_quick() -> None:
    estimate = torch.rand(1, 3, 400, 600) * 2 - 1

    def sizes(backbone: Any) -> list[tuple[int, int]]:
        previewer = Previewer(backbone)
        return [Image.open(io.BytesIO(previewer.preview(estimate))).size for _ in range(4)]

    quick, slow = sizes(Slow(0.0)), sizes(Slow(2e-6))
    assert quick[0][0] * quick[0][1] <= 1.05 * FIRST_PIXELS and quick[-1][0] > quick[0][0]
    assert slow[-1][0] * slow[-1][1] < slow[0][0] * slow[0][1]
    assert slow[-1][0] * slow[-1][1] >= 0.9 * LEAST_PIXELS
    assert all(abs(width / height - 1.5) < 0.02 for width, height in quick + slow)
    assert shrunk(estimate, 1e9) is estimate
    assert Previewer(tiny_house()).preview(torch.zeros(1, 8, 8, 8))[:2] == b"\xff\xd8"


def test_each_setting_has_its_own_help_which_names_what_else_is_allowed(idle: TestClient) -> None:
    for name in NAMES:
        cls = method_class(name)
        for spec in setting_specs(cls, NOT_PUBLISHED if cls.as_published else ()):
            assert spec.meaning.startswith(f"``{spec.name}``"), (name, spec.name)
    guided = next(method for method in idle.get(f"{API}/methods").json() if method["name"] == "guided")
    settings = {setting["name"]: setting for setting in guided["settings"]}
    assert (
        settings["steps"]["help"].startswith("steps is how many steps") and "strength" not in settings["steps"]["help"]
    )
    assert settings["negative_prompt"]["help"].startswith("negative_prompt is")
    assert settings["size"]["also"] == [0.0] and settings["size"]["allowed"].startswith("0 or from 64")
    assert settings["steps"]["also"] == []
