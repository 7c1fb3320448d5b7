"""The page's routes beside the API: its files, pictures to show, segments, explanations, blind choices."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from tests.command_line import run
from tests.conftest import smooth_image
from tests.tiny_service import asked, png, tiny_service
from velatura.errors import SettingError
from velatura.page.choices import Choice, Choices
from velatura.page.serving import SEGMENTS_SIDE, STATIC, add_page, segments_png
from velatura.regions.segments import segments
from velatura.service.http import create_app
from velatura.service.service import Service

JOBS = ("a" * 32, "b" * 32)


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return tiny_service(tmp_path / "data")


@pytest.fixture
def client(service: Service) -> Iterator[TestClient]:
    with TestClient(add_page(create_app(service), service), base_url="http://127.0.0.1:7860") as opened:
        yield opened


def test_the_page_and_its_files_come_with_a_policy_that_lets_nothing_else_in(client: TestClient) -> None:
    for path in ("/", "/page/style.css", "/page/js/main.js", "/page/example/photo.jpg"):
        answer = client.get(path)
        assert answer.status_code == 200
        assert answer.headers["content-security-policy"].startswith("default-src 'self'")
    assert client.get("/page/../serving.py").status_code == 404
    assert client.get("/page/%2e%2e/serving.py").status_code == 404


def test_the_page_asks_for_nothing_of_other_hosts() -> None:
    for path in STATIC.rglob("*"):
        if path.suffix in (".js", ".css", ".html"):
            links = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+", path.read_text()))
            assert links <= {"http://www.w3.org"}, path  # a name, not an address


def test_every_import_and_file_of_the_page_is_there() -> None:
    for path in (STATIC / "js").glob("*.js"):
        for name in re.findall(r'from "\./([\w.]+)"', path.read_text()):
            assert (path.parent / name).is_file(), f"{path.name} imports {name}"
        for name in re.findall(r'"/page/((?!data)[\w./]+\.\w+)"', path.read_text()):
            assert (STATIC / name).is_file(), f"{path.name} names {name}"


def test_every_text_that_the_page_says_is_in_the_file_of_texts() -> None:
    texts = (STATIC / "js" / "texts.js").read_text()
    for path in (STATIC / "js").glob("*.js"):
        for group, name in re.findall(r"\bt\.(\w+)(?:\.(\w+))?", path.read_text()):
            assert re.search(rf"\b{group}\b", texts) and re.search(rf"\b{name}\b", texts), (
                f"{path.name}: t.{group}.{name}"
            )


def test_segments_have_the_numbers_that_regions_are_named_by() -> None:
    image = Image.new("RGB", (1280, 720), (200, 30, 30))
    image.paste((20, 60, 220), (800, 0, 1280, 720))
    shown = np.asarray(Image.open(io.BytesIO(segments_png(image))))
    assert shown.shape == (360, SEGMENTS_SIDE)
    found = segments(image)
    assert (shown == found[1::2, 1::2]).mean() > 0.99
    assert set(np.unique(shown)) == set(np.unique(found))


def test_pictures_results_and_reasons_are_shown(service: Service, client: TestClient) -> None:
    content, style = (service.pictures.add(png(seed), "photo.png").id for seed in (1, 2))
    assert Image.open(io.BytesIO(client.get(f"/page/data/pictures/{content}").content)).size == (64, 64)
    job = client.post("/api/v1/jobs", json=asked(content, style, regions=[], settings={"strength": 0.3})).json()
    last = list(service.watch(job["id"]))[-1].job
    assert last.state == "done", last.reason
    assert Image.open(io.BytesIO(client.get(f"/page/data/jobs/{job['id']}").content)).size == (64, 64)
    why = client.get(f"/page/data/why/{job['id']}").json()
    assert ["method", "guided"] in why["facts"] and ["strength", "0.3"] in why["settings"]
    assert {row[0] for row in why["scores"]} >= {"mse", "palette"} and why["curves"]["mse"]


def test_what_is_not_there_is_said_so(client: TestClient) -> None:
    for kind, name in (("pictures", "0" * 64), ("segments", "0" * 64), ("jobs", "0" * 32), ("why", "0" * 32)):
        answer = client.get(f"/page/data/{kind}/{name}")
        assert answer.status_code == 404 and answer.json()["error"].startswith("There is no such")
    assert client.get("/page/data/pictures/..%2f..%2fsecret").status_code in (404, 422)


def choice(won: str, first: str = "a", second: str = "b") -> Choice:
    return Choice(first=first, second=second, won=won, jobs=JOBS)


def test_blind_choices_are_counted_a_tie_as_half(tmp_path: Path) -> None:
    choices = Choices(tmp_path / "choices.jsonl")
    assert choices.standings() == []
    for won in ("a", "a", "b", ""):
        choices.add(choice(won))
    best, other = choices.standings()
    assert (best.name, best.won, best.all) == ("a", 2.5, 4) and (other.name, other.won) == ("b", 1.5)
    assert best.score == -other.score > 0 and best.low < best.score < best.high


def test_a_line_that_a_crash_cut_off_costs_only_itself(tmp_path: Path) -> None:
    file = tmp_path / "choices.jsonl"
    choices = Choices(file)
    choices.add(choice("a"))
    file.write_bytes(file.read_bytes() + b'{"first": "a", "sec')
    choices.add(choice("b"))
    assert [each.won for each in choices.all()] == ["a", "b"]


def test_ways_that_no_choice_links_have_no_scores(tmp_path: Path) -> None:
    choices = Choices(tmp_path / "choices.jsonl")
    choices.add(choice("a"))
    choices.add(choice("c", "c", "d"))
    assert {standing.score for standing in choices.standings()} == {0.0} and len(choices.standings()) == 4


def test_a_choice_between_nothing_is_refused(tmp_path: Path, client: TestClient) -> None:
    with pytest.raises(SettingError, match="between two ways"):
        Choices(tmp_path / "choices.jsonl").add(choice("a", second="a"))
    answer = client.post("/page/data/choices", json={"first": "a", "second": "b", "won": "c", "jobs": JOBS})
    assert answer.status_code == 422 and "one or neither" in answer.json()["error"]
    other = client.post("/page/data/choices", json={}, headers={"Origin": "https://elsewhere.example"})
    assert other.status_code == 403


def test_velatura_ui_refuses_other_machines_without_a_token(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "ui", "--host", "0.0.0.0", "--port", "0") == 2
    assert "without a token" in capsys.readouterr().err


def test_segments_of_a_smooth_picture_are_at_most_twenty() -> None:
    shown = np.asarray(Image.open(io.BytesIO(segments_png(smooth_image(90, 120)))))
    assert shown.shape == (90, 120) and 1 <= shown.min() <= shown.max() <= 20
