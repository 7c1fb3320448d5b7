"""Settings that were left to the model: what its folder recommends, or else the published values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from velatura.models.recommended import RecommendedSettings

if TYPE_CHECKING:
    from velatura.methods.base import Method

Setting = TypeVar("Setting", bound=float | str)
M = TypeVar("M", bound="Method")


def recommended(asked: Setting, name: str, published: Setting, settings: RecommendedSettings) -> Setting:
    """``asked``; where that is 0 or empty, what the model recommends for ``name``, or the ``published`` value."""
    return asked or type(published)(settings.get(name, published))


def with_recommended(method: M, published: Mapping[str, float | str], settings: RecommendedSettings) -> M:
    """A method whose empty settings are the model's recommendations or the ``published`` values."""
    chosen: dict[str, Any] = {
        name: recommended(getattr(method, name), name, value, settings) for name, value in published.items()
    }
    return replace(method, **chosen)
