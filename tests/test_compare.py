"""velatura compare: blind pages, and Bradley-Terry scores of the choices."""

from __future__ import annotations

import hashlib
import json
import math
import re
from pathlib import Path

import pytest

from tests.command_line import run
from tests.conftest import smooth_image
from velatura.app import compare_command
from velatura.app.compare_command import at_smaller_size
from velatura.app.comparing import FORMAT, Key, counted, folder_names, read_choices, result_pairs
from velatura.app.references import References
from velatura.errors import PictureError, SettingError
from velatura.evaluation.bradley_terry import PRIOR, Z, bradley_terry, preference
from velatura.picture import save_picture


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with results of two methods on four photos."""
    for folder, seed in (("ours", 0), ("theirs", 10)):
        (tmp_path / folder).mkdir()
        for number in range(4):
            save_picture(
                smooth_image(64, 80, seed + number), tmp_path / folder / f"photo{number}.png", {"method": folder}
            )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def data_of(page: Path) -> dict[str, object]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text(), re.DOTALL)
    assert found
    data: dict[str, object] = json.loads(found.group(1))
    return data


def choices_file(path: Path, key: Key, choices: dict[str, str]) -> Path:
    entries = [{"pair": pair, "choice": choice, "seconds": 1.0} for pair, choice in choices.items()]
    path.write_text(json.dumps({"format": FORMAT, "key": key.encoded(), "choices": entries}))
    return path


def test_the_page_is_blind_and_whole(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    smooth_image(64, 80, 20).save("photo0.png")
    assert run(monkeypatch, "compare", "ours", "theirs", "--seed", 5, "--style", "photo0.png") == 0
    text = Path("compare.html").read_text()
    assert "ours" not in text and "theirs" not in text and '"seed"' not in text
    assert not re.search(r"(src|href)=\"(?!data:)", text)
    data = data_of(Path("compare.html"))
    key = Key.decoded(str(data["key"]))
    assert (key.seed, key.first, key.second) == (5, "ours", "theirs")
    trials = data["trials"]
    assert isinstance(trials, list)
    assert [trial["pair"] for trial in trials] == [key.pairs[number] for number in key.order()]
    assert all([each["caption"] for each in trial["references"]] == ["style"] for trial in trials)
    assert run(monkeypatch, "compare", "ours", "theirs", "--seed", 5, "--out", "again.html") == 0
    again = data_of(Path("again.html"))["trials"]
    assert isinstance(again, list)
    assert [each["left"] for each in again] == [each["left"] for each in trials]


def test_sides_are_drawn_anew_for_each_pair_and_seed() -> None:
    pairs = tuple(map(str, range(200)))
    sides = [Key(1, "a", "b", pairs).first_is_left(number) for number in range(200)]
    assert 70 < sum(sides) < 130
    assert sides != [Key(2, "a", "b", pairs).first_is_left(number) for number in range(200)]
    assert sorted(Key(1, "a", "b", pairs).order()) == list(range(200))
    assert Key.decoded(Key(1, "a", "b", pairs).encoded()) == Key(1, "a", "b", pairs)


def test_names_in_a_page_are_escaped(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    hostile = "<b>&'"
    for folder in ("ours", "theirs"):
        Path(folder, "photo0.png").rename(Path(folder, f"{hostile}.png"))
    question = "</script><script>alert(1)</script>"
    assert run(monkeypatch, "compare", "ours", "theirs", "--question", question) == 0
    assert "alert(1)</script>" not in Path("compare.html").read_text()
    data = data_of(Path("compare.html"))
    assert data["question"] == question and hostile in Key.decoded(str(data["key"])).pairs


def test_pairs_are_pictures_of_one_name(place: Path) -> None:
    (place / "theirs" / "photo1.png").unlink()
    smooth_image(64, 64, 1).save(place / "theirs" / "photo2.jpg")
    assert list(result_pairs(place / "ours", place / "theirs")) == ["photo0", "photo2", "photo3"]
    one = result_pairs(place / "ours/photo0.png", place / "theirs/photo3.png")
    assert one == {"photo0": (place / "ours/photo0.png", place / "theirs/photo3.png")}
    (place / "empty").mkdir()
    smooth_image(64, 64, 1).save(place / "empty" / "x.png")
    with pytest.raises(PictureError, match="have no pictures of the same names"):
        result_pairs(place / "ours", place / "empty")
    with pytest.raises(PictureError, match="is no folder"):
        result_pairs(place / "ours", place / "none")


def test_folders_have_different_names(tmp_path: Path) -> None:
    assert folder_names(tmp_path / "a", tmp_path / "b") == ("a", "b")
    assert folder_names(tmp_path / "x/stylized", tmp_path / "y/stylized") == ("x/stylized", "y/stylized")
    with pytest.raises(PictureError, match="compared with itself"):
        folder_names(tmp_path / "a", tmp_path / "b" / ".." / "a")


def test_references_are_found_by_hash_or_name(place: Path) -> None:
    for number in range(3):
        smooth_image(64, 64, number).save(place / f"c{number}.png")
    (place / "contents").mkdir()
    for number in range(3):
        (place / f"c{number}.png").rename(place / "contents" / f"c{number}.png")
    digest = hashlib.sha256((place / "contents/c2.png").read_bytes()).hexdigest()
    result = save_picture(smooth_image(), place / "r.png", {"content": {"sha256": digest}})
    references = References.of(place / "contents", "content")
    assert references.find("c0", result) == place / "contents/c2.png"
    assert references.find("deep/c0", place / "ours/photo0.png") == place / "contents/c0.png"
    assert references.find("other", place / "ours/photo0.png") is None


def test_choices_are_counted_by_the_sides_of_the_key(tmp_path: Path) -> None:
    key = Key(3, "a", "b", ("p", "q", "r"))
    choices = {
        "p": "left" if key.first_is_left(0) else "right",
        "q": "right" if key.first_is_left(1) else "left",
        "r": "tie",
    }
    read = read_choices(choices_file(tmp_path / "r.json", key, choices))
    assert counted([read, read]) == {("a", "b"): 3.0, ("b", "a"): 3.0}


def test_scores_of_two_are_the_log_odds_in_closed_form() -> None:
    best, worst = bradley_terry({("a", "b"): 2.0, ("b", "a"): 8.0})
    odds = (8 + PRIOR) / (2 + PRIOR)
    assert (best.name, worst.name) == ("b", "a")
    assert best.score == pytest.approx(math.log(odds) / 2) and worst.score == pytest.approx(-best.score)
    # The difference's deviation is sqrt(1/8.5 + 1/2.5); a score about the mean is half of the difference.
    assert best.high - best.score == pytest.approx(Z / 2 * math.sqrt(1 / 8.5 + 1 / 2.5))
    assert preference(best, worst) == pytest.approx(odds / (1 + odds))


def test_scores_of_several_are_recovered_from_expected_choices() -> None:
    true = {"a": 1.0, "b": 0.0, "c": -1.0}
    chances = {(x, y): 1 / (1 + math.exp(true[y] - true[x])) for x in true for y in true if x != y}
    found = bradley_terry({pair: 1e5 * chance for pair, chance in chances.items()})
    assert [(each.name, round(each.score, 2)) for each in found] == [("a", 1.0), ("b", 0.0), ("c", -1.0)]
    assert all(each.low < each.score < each.high for each in found)


def test_one_who_never_loses_has_a_finite_score() -> None:
    best, _ = bradley_terry({("a", "b"): 10.0, ("b", "a"): 0.0})
    assert best.name == "a" and best.score == pytest.approx(math.log(10.5 / 0.5) / 2)


def test_what_was_never_compared_is_refused() -> None:
    with pytest.raises(SettingError, match="c was never compared with a"):
        bradley_terry({("a", "b"): 1.0, ("c", "d"): 1.0})
    with pytest.raises(SettingError, match="no choices"):
        bradley_terry({})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"format": "x"}',
        '{"format": "velatura-choices-1", "key": "!!", "choices": []}',
        '{"format": "velatura-choices-1"}',
    ],
)
def test_other_files_are_no_choices(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(SettingError, match="holds no choices of a page"):
        read_choices(tmp_path / "r.json")


def test_choices_of_other_pairs_are_refused(tmp_path: Path) -> None:
    path = choices_file(tmp_path / "r.json", Key(3, "a", "b", ("p",)), {"x": "left"})
    with pytest.raises(SettingError, match="the pair x is unknown"):
        read_choices(path)


def test_the_scores_of_several_pages_are_printed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pages = []
    for number, (first, second) in enumerate((("ours", "theirs"), ("theirs", "photo"))):
        key = Key(number, first, second, tuple("pqrst"))
        choices = {pair: "left" if key.first_is_left(place) else "right" for place, pair in enumerate(key.pairs)}
        pages.append(choices_file(tmp_path / f"{number}.json", key, choices))
    assert run(monkeypatch, "compare", "--scores", *pages) == 0
    shown = capsys.readouterr().out
    assert "10 choices from 2 files" in shown
    assert shown.index("ours") < shown.index("theirs") < shown.index("photo") and "5 of 5" in shown
    assert run(monkeypatch, "compare", "--scores", tmp_path / "none.json") == 2
    assert "There is no file" in capsys.readouterr().err
    assert run(monkeypatch, "compare", tmp_path) == 2
    assert "Two folders or two pictures are compared, not 1" in capsys.readouterr().err


def test_references_of_a_benchmarks_pictures_are_found_by_hash_and_by_their_joint_names(place: Path) -> None:
    for folder, names in (("photos", ("a", "a_b")), ("styles", ("c", "b_c"))):
        (place / folder).mkdir()
        for number, name in enumerate(names):
            smooth_image(64, 64, number).save(place / folder / f"{name}.png")
    photos, styles = References.of(place / "photos", "content"), References.of(place / "styles", "style")
    plain = place / "ours/photo0.png"
    assert photos.find("a_c", plain) == place / "photos/a.png" and styles.find("a_c", plain) == place / "styles/c.png"
    assert photos.find("a_b_c", plain) == place / "photos/a_b.png"  # the longest name that fits
    assert photos.find("ax_c", plain) is None
    digest = hashlib.sha256((place / "photos/a.png").read_bytes()).hexdigest()
    made = save_picture(smooth_image(), place / "made.png", {"benchmark": {"content_sha256": digest}})
    assert photos.find("other", made) == photos.find("other", plain, made) == place / "photos/a.png"


def test_a_page_says_what_it_could_not_show(
    monkeypatch: pytest.MonkeyPatch, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "styles").mkdir()
    for name in ("x", "y"):
        smooth_image().save(place / "styles" / f"{name}.png")
    whole = (place / "theirs/photo1.png").read_bytes()
    (place / "theirs/photo1.png").write_bytes(whole[: len(whole) // 2])
    smooth_image(32, 40, 3).save(place / "theirs/photo2.png")
    assert run(monkeypatch, "compare", "ours", "theirs", "--style", "styles", "--out", "p.html") == 1
    told = " ".join(capsys.readouterr().err.split())
    assert "The pair photo1 is left out: theirs/photo1.png is damaged" in told
    assert "styles holds no style for 3 of 3 pairs, such as photo0." in told
    assert "1 pairs are of two sizes, such as photo2: both are shown at the smaller one." in told
    trials = data_of(Path("p.html"))["trials"]
    assert isinstance(trials, list) and {trial["pair"] for trial in trials} == {"photo0", "photo2", "photo3"}
    for path in (place / "theirs").iterdir():
        path.write_bytes(b"no picture")
    assert run(monkeypatch, "compare", "ours", "theirs", "--out", "q.html") == 2
    assert not Path("q.html").exists()


def test_pictures_of_two_sizes_are_shown_at_the_smaller() -> None:
    images = smooth_image(64, 80), smooth_image(32, 40)
    assert [image.size for image in at_smaller_size(images)] == [(40, 32), (40, 32)]
    assert [image.size for image in images] == [(80, 64), (40, 32)]


def test_a_file_of_choices_counts_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    anna = choices_file(tmp_path / "anna.json", Key(1, "a", "b", ("p", "q")), {"p": "left", "q": "tie"})
    copy = tmp_path / "copy.json"
    copy.write_bytes(anna.read_bytes())
    assert run(monkeypatch, "compare", "--scores", anna, anna, copy) == 0
    shown = capsys.readouterr()
    assert "2 choices from 1 file\n" in shown.out
    assert "copy.json has the same choices as a file before it" in " ".join(shown.err.split())


@pytest.mark.parametrize("key", ["!!", "bm8=", "eyJ4IjogMX0=", "/w=="])
def test_a_broken_key_is_said_in_words(tmp_path: Path, key: str) -> None:
    path = tmp_path / "r.json"
    path.write_text(json.dumps({"format": FORMAT, "key": key, "choices": []}))
    with pytest.raises(SettingError, match=r"\(its key is damaged\)\.$"):
        read_choices(path)


def test_keys_with_modifiers_are_the_browsers() -> None:
    page = (Path(compare_command.__file__).parent / "report/templates/compare.html.j2").read_text()
    assert "event.altKey || event.ctrlKey || event.metaKey" in page
