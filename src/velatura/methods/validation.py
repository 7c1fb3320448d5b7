"""Checks that the settings of several methods share."""

from __future__ import annotations

from typing import Any

from velatura.errors import SettingError


def check_shares(settings: Any, *names: str) -> None:
    """Raise SettingError unless each of these settings is in [0, 1]."""
    for name in names:
        if not 0 <= getattr(settings, name) <= 1:
            raise SettingError(f"{name} must be from 0 to 1, not {getattr(settings, name):g}.")


def check_counts(settings: Any, *names: str) -> None:
    """Raise SettingError unless each of these settings is at least 1."""
    for name in names:
        if getattr(settings, name) < 1:
            raise SettingError(f"{name} must be at least 1, not {getattr(settings, name)}.")
