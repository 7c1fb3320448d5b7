"""Names of version 0.1: understood for one version, with one warning each."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from velatura.app.former_names import Choice, current
from velatura.app.options import parse_settings
from velatura.app.studio import configured
from velatura.errors import SettingError
from velatura.registry import REPRODUCTION_OF
from velatura.span import Span


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.WARNING, logger="velatura")
    return caplog


def test_renamed_settings_are_translated_with_a_line_each(warnings: pytest.LogCaptureFixture) -> None:
    former = {"look": "blend", "sight": 128, "window": 1.0, "force": 0.3, "steps": 5}
    now = {"loss_input": "blend", "loss_resolution": 128, "crop": 1.0, "guidance_rms": 0.3, "steps": 5}
    assert current(Choice("guided", former)) == Choice("guided", now)
    assert [record.getMessage().split(";")[0] for record in warnings.records] == [
        "The setting look=blend is now loss_input=blend",
        "The setting sight=128 is now loss_resolution=128",
        "The setting window=1.0 is now crop=1.0",
        "The setting force=0.3 is now guidance_rms=0.3",
    ]
    assert all("\n" not in record.getMessage() for record in warnings.records)


@pytest.mark.parametrize("name", ["look", "loss_input"])
def test_renamed_values_are_translated(name: str, warnings: pytest.LogCaptureFixture) -> None:
    assert current(Choice("guided", {name: "clean"})).settings == {"loss_input": "x0"}
    assert f"{name}=clean is now loss_input=x0" in warnings.text and len(warnings.records) == 1


@pytest.mark.parametrize(("method", "reproduction"), REPRODUCTION_OF.items())
def test_compat_chooses_the_reproduction(method: str, reproduction: str, warnings: pytest.LogCaptureFixture) -> None:
    assert current(Choice(method, {"compat": "original", "steps": 5})) == Choice(reproduction, {"steps": 5})
    assert f"use --method {reproduction}" in warnings.text and len(warnings.records) == 1
    warnings.clear()
    assert current(Choice(method, {"compat": ""})) == Choice(method) and not warnings.records


def test_the_reproductions_preset_chooses_it(warnings: pytest.LogCaptureFixture) -> None:
    for settings in ({}, {"compat": "original"}):
        assert current(Choice("guided", settings, "zecon-original")) == Choice("zecon-original")
    assert len(warnings.records) == 2
    assert current(Choice("guided", {}, "zecon")) == Choice("guided", {}, "zecon")
    assert current(Choice("s2prest", {}, "zecon-original")) == Choice("s2prest", {}, "zecon-original")


def test_spans_in_pairs_become_spans(warnings: pytest.LogCaptureFixture) -> None:
    spans = {"gram": Span(0.0, 0.5)}
    assert current(Choice("guided", {"spans": {"gram": (0.0, 0.5)}})).settings == {"spans": spans}
    assert len(warnings.records) == 1
    assert current(Choice("guided", {"spans": spans})).settings == {"spans": spans} and len(warnings.records) == 1


def test_todays_names_pass_without_a_word(warnings: pytest.LogCaptureFixture) -> None:
    settings: dict[str, Any] = {"steps": 5, "loss_input": "x0", "weights": {"gram": 1.0}}
    assert current(Choice("guided", settings)) == Choice("guided", settings) and not warnings.records


def test_the_command_line_and_python_take_former_names(warnings: pytest.LogCaptureFixture) -> None:
    settings = ["look=clean", "force=1", "window=0.5"]
    now = {"loss_input": "x0", "guidance_rms": 1.0, "crop": 0.5}
    assert parse_settings("guided", settings, None) == ("guided", now)
    method = configured("guided", {"look": "clean", "force": 1.0, "window": 0.5})
    assert method == configured("guided", now) and len(warnings.records) == 6
    assert parse_settings("s2prest", ["compat=original", "steps=5"], None) == ("s2prest-original", {"steps": 5})
    assert configured("diffstyler", {"compat": "original"}).name == "diffstyler-original"


@pytest.mark.parametrize("settings", [{"compat": "newer"}, {"joy": 1}, {"compat": "original", "palette": 0.5}])
def test_what_there_never_was_or_the_reproduction_lacks_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match="has no setting '"):
        configured("guided", settings)
    with pytest.raises(SettingError, match="has no setting '"):
        parse_settings("guided", [f"{name}={value}" for name, value in settings.items()], None)
