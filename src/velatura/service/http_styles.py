"""Routes of the style library."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, File, Form, Path, Response, UploadFile
from pydantic import BaseModel, Field

from velatura.service.http_jobs import IMAGE, Key, Undo
from velatura.service.jobs import Job
from velatura.service.requests import FitRequest, Name, Strict
from velatura.service.service import Service
from velatura.service.styles import StyleView

StyleName = Annotated[str, Path(min_length=1, max_length=80, description="A style's name.")]


class Rename(Strict):
    """A style's new name."""

    name: Name


class Part(Strict):
    """A style of a mix, and its weight."""

    style: Name
    weight: Annotated[float, Field(gt=0, le=1000)] = 1.0


class MixRequest(Strict):
    """A mix of styles, kept under a name."""

    name: Name
    parts: list[Part] = Field(min_length=2, max_length=20)


class Removed(BaseModel):
    """A removed style; ``undo`` brings it back, through POST /styles/undo."""

    name: str
    undo: str


def style_routes(service: Service) -> APIRouter:
    """The routes of styles."""
    router, shelf = APIRouter(tags=["styles"]), service.styles
    _add_files(router, service)

    @router.get("/styles")
    def all_styles() -> list[StyleView]:
        """Every style, damaged ones too."""
        return shelf.all()

    @router.post("/styles", status_code=202)
    def fit(request: FitRequest, response: Response, key: Key = None) -> Job:
        """Queue the fit of a style to uploaded pictures."""
        job, is_new = service.submit(request, key)
        response.status_code = 202 if is_new else 200
        return job

    @router.post("/styles/mix", status_code=201)
    def mix(request: MixRequest) -> StyleView:
        """Keep a mix of styles as a style."""
        return shelf.mix(request.name, [(part.style, part.weight) for part in request.parts])

    @router.post("/styles/undo")
    def undo(request: Undo) -> StyleView:
        """Bring a removed style back."""
        return shelf.restore(request.undo)

    @router.get("/styles/{name}")
    def get(name: StyleName) -> StyleView:
        """One style."""
        return shelf.get(name)

    @router.patch("/styles/{name}")
    def rename(name: StyleName, request: Rename) -> StyleView:
        """Give a style another name."""
        return shelf.rename(name, request.name)

    @router.delete("/styles/{name}")
    def remove(name: StyleName) -> Removed:
        """Take a style out of the library."""
        return Removed(name=name, undo=shelf.remove(name))

    return router


def _add_files(router: APIRouter, service: Service) -> None:
    shelf = service.styles

    @router.post("/styles/import", status_code=201)
    def import_style(
        file: Annotated[UploadFile, File(description="A style file, as it was exported.")],
        name: Annotated[str, Form(max_length=80)] = "",
        replace: Annotated[bool, Form()] = False,
    ) -> StyleView:
        """Add a style file to the library, under its own name or another."""
        return shelf.imported(file.file.read(), name, replace)

    @router.get("/styles/{name}/thumbnail", response_class=Response, responses=IMAGE)
    def thumbnail(name: StyleName) -> Response:
        """The style's picture as a small JPEG."""
        return Response(shelf.thumbnail(name), media_type="image/jpeg")

    @router.get("/styles/{name}/file", response_class=Response)
    def export(name: StyleName) -> Response:
        """The style's file."""
        return Response(
            shelf.exported(name),
            media_type="application/octet-stream",
            headers={"Content-Disposition": 'attachment; filename="style.safetensors"'},
        )
