"""What every method offers and returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from PIL import Image

from velatura.memory import Memory
from velatura.models.advice import Advice
from velatura.models.backbone import Backbone
from velatura.picture import Picture
from velatura.progress import Progress
from velatura.regions import Region
from velatura.style import Style

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Setting = TypeVar("Setting", bound=float | str)
Settings = TypeVar("Settings", bound="DataclassInstance")


@dataclass(frozen=True)
class Stylization:
    """A result: the ``picture`` at the content's size, pictures made on the way by name, numbers, manifest."""

    picture: Image.Image
    alpha: Image.Image | None
    layers: Mapping[str, Image.Image] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)
    manifest: Mapping[str, Any] = field(default_factory=dict)


class Method(Protocol):
    """Settings of one method; frozen."""

    @property
    def name(self) -> str:
        """What the method is called on the command line."""
        ...

    @property
    def strength(self) -> float:
        """0 (the content itself) to 1."""
        ...

    @property
    def fits(self) -> str:
        """The method whose styles it uses."""
        ...

    @property
    def fitted_by(self) -> Mapping[str, Any]:
        """The settings that a fit depends on."""
        ...

    def fit(
        self,
        picture: Picture,
        backbone: Backbone,
        name: str,
        progress: Progress,
        mask: Picture | None = None,
        checkpoint: Path | None = None,
    ) -> Style:
        """Learn a style from one picture, white in ``mask`` where it counts; resumed from ``checkpoint``."""
        ...

    def stylize(
        self,
        contents: Sequence[Picture],
        regions: Sequence[Region],
        backbone: Backbone,
        seed: int,
        progress: Progress,
        memory: Memory,
    ) -> list[Stylization]:
        """Put every region's style on contents; what ``memory`` holds already is not computed again."""
        ...


def advised(asked: Setting, setting: str, published: Setting, advice: Advice) -> Setting:
    """What was ``asked`` for; where that is 0 or empty what the model's folder advises, or what is ``published``."""
    return asked or type(published)(advice.get(setting, published))


def settled_by(settings: Settings, published: Mapping[str, float | str], advice: Advice) -> Settings:
    """``settings`` with what is ``advised`` for each of the ``published``."""
    settled: dict[str, Any] = {
        name: advised(getattr(settings, name), name, value, advice) for name, value in published.items()
    }
    return replace(settings, **settled)


def versions() -> dict[str, str]:
    """Versions of what decides about the numbers, for manifests and cards."""
    return {name: metadata.version(name) for name in ("velatura", "torch", "diffusers", "transformers")}


def manifest_of(
    method: str,
    settings: Mapping[str, Any],
    content: Picture,
    style: Style,
    backbone: Backbone,
    seed: int,
    working: tuple[int, int],
) -> dict[str, Any]:
    """All that is needed to make a result again."""
    return {
        "method": method,
        "model": backbone.name,
        "model_fingerprint": backbone.fingerprint,
        "settings": dict(settings),
        "seed": seed,
        "working_size": list(working),
        "content": {"name": content.name, "sha256": content.digest},
        "style": {"name": style.name, "sha256": style.card.get("sha256", "")},
        "versions": versions(),
    }
