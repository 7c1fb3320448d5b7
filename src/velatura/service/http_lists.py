"""Routes of what there is: models, and methods with their settings."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel

from velatura.methods.shared_settings import NOT_PUBLISHED
from velatura.methods.validation import UNSET, Allowed, Choices, Range, setting_specs
from velatura.models.loading.catalogue import KNOWN
from velatura.models.loading.load import is_present
from velatura.registry import METHODS, NAMES, method_class
from velatura.service.requests import NO_PATHS
from velatura.service.service import Service


class ModelView(BaseModel):
    """A known model; ``size`` in MB. The server's own is ``used``."""

    name: str
    size: int
    licence: str
    purpose: str
    here: bool
    used: bool


class SettingView(BaseModel):
    """A setting: its kind, default, what is allowed in words and, where that says it, as numbers or texts.

    Numbers from ``low`` to ``high`` are allowed, and those in ``also``: 0 or -1, which leave it to the method.
    """

    name: str
    kind: str
    default: float | int | str | dict[str, object]
    allowed: str
    low: float | None = None
    high: float | None = None
    also: list[float] = []
    choices: list[str] = []
    help: str


class MethodView(BaseModel):
    """A method, what it can do, and its settings; ``published`` is a published program's own arithmetic."""

    name: str
    help: str
    published: bool
    regions: bool
    text_styles: bool
    mixes: bool
    style_method: str
    presets: list[str]
    settings: list[SettingView]


def list_routes(service: Service) -> APIRouter:
    """The routes of models and methods."""
    router = APIRouter(tags=["lists"])

    @router.get("/models")
    def models() -> list[ModelView]:
        """The known models, and the server's own."""
        used = service.settings.model
        known = [
            ModelView(
                name=model.name,
                size=model.size,
                licence=model.licence,
                purpose=model.purpose,
                here=is_present(model),
                used=model.name == used,
            )
            for model in KNOWN
        ]
        own = ModelView(name="own", size=0, licence="", purpose="the server's model", here=True, used=True)
        return known if any(model.used for model in known) else [own, *known]

    @router.get("/methods")
    def methods() -> list[MethodView]:
        """The methods and their settings."""
        return [method_view(name) for name in NAMES]

    return router


def method_view(name: str) -> MethodView:
    """A method as clients see it."""
    found = method_class(name)
    documented = (found.__doc__ or "").strip()
    return MethodView(
        name=name,
        help="" if documented.startswith(f"{found.__name__}(") else " ".join(documented.split("\n\n")[0].split()),
        published=name not in METHODS,
        regions=found.regions,
        text_styles=found.text_styles,
        mixes=found.mixes,
        style_method=found.style_method,
        presets=list(found.presets),
        settings=settings_of(name),
    )


def settings_of(name: str) -> list[SettingView]:
    """A method's settings as clients see them."""
    found = method_class(name)
    views = []
    for spec in setting_specs(found, NOT_PUBLISHED if found.as_published else ()):
        allowed = spec.allowed
        views.append(
            SettingView(
                name=spec.name,
                kind=spec.kind,
                default=dict(spec.default) if hasattr(spec.default, "items") else spec.default,
                allowed=str(allowed or spec.kind),
                low=allowed.low if isinstance(allowed, Range) else None,
                high=allowed.high if isinstance(allowed, Range) else None,
                also=_also(allowed),
                choices=list(allowed.values) if isinstance(allowed, Choices) else list(NO_PATHS.get(spec.name, ())),
                help=spec.meaning.replace("``", ""),
            )
        )
    return views


def _also(allowed: Allowed | None) -> list[float]:
    """The numbers outside a range that are allowed too."""
    if not isinstance(allowed, Range):
        return []
    return [0.0] * allowed.or_zero + [UNSET] * allowed.or_unset
