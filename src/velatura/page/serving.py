"""The page's routes on the service's app: its files, pictures of the size that a page shows, segments, explanations."""

from __future__ import annotations

import io
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, FastAPI, Response
from fastapi import Path as Parameter
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from PIL import Image
from pydantic import BaseModel

from velatura.app.explaining import facts, region_rows, score_rows, setting_rows
from velatura.app.recorded import Recorded
from velatura.page.choices import Choice, Choices, Standing
from velatura.regions.segments import segments
from velatura.service.files import jpeg
from velatura.service.service import Service

STATIC = Path(__file__).parent / "static"
SHOWN_SIDE = 1600  # longer side of a picture in the page, in pixels
SEGMENTS_SIDE = 640  # that of the numbered segments: they are found at 320
SHOWN_QUALITY = 90
KEPT_SEGMENTS = 64  # pictures whose segments are remembered, some 10 KB each
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "Cache-Control": "no-cache",  # ask each time: an update of the package is an update of the page
}

PictureId = Annotated[str, Parameter(pattern=r"^[0-9a-f]{64}$")]
JobId = Annotated[str, Parameter(pattern=r"^[0-9a-f]{32}$")]
Rows = list[tuple[str, ...]]


class Why(BaseModel):
    """Why a result looks as it does: rows of words as ``velatura show`` prints them, and the losses by step."""

    facts: Rows
    regions: Rows
    settings: Rows
    scores: Rows
    curves: dict[str, list[float]]


class PageFiles(StaticFiles):
    """The page's files, asked for again each time."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers.update(HEADERS)
        return response


def add_page(app: FastAPI, service: Service) -> FastAPI:
    """Put the page on the service's app, at ``/`` and below ``/page``."""

    @app.get("/", include_in_schema=False)
    def index() -> FileResponse:
        return FileResponse(STATIC / "index.html", headers=HEADERS)

    app.include_router(data_routes(service))
    app.include_router(choice_routes(Choices(service.settings.data / "choices.jsonl")))
    app.mount("/page", PageFiles(directory=STATIC), name="page")
    return app


def data_routes(service: Service) -> APIRouter:
    """What the page asks for beside the API."""
    router = APIRouter(prefix="/page/data", include_in_schema=False)
    segmenting = Lock()

    @lru_cache(maxsize=KEPT_SEGMENTS)
    def found_segments(picture_id: str) -> bytes:
        return segments_png(service.pictures.open(picture_id).image)

    @router.get("/pictures/{picture_id}")
    def picture(picture_id: PictureId) -> Response:
        """An uploaded picture of the size that a page shows, whatever its format."""
        return Response(
            jpeg(service.pictures.open(picture_id).image, SHOWN_SIDE, SHOWN_QUALITY), media_type="image/jpeg"
        )

    @router.get("/segments/{picture_id}")
    def numbered(picture_id: PictureId) -> Response:
        """A gray PNG in which each pixel is the number of its segment."""
        with segmenting:  # one at a time: it takes the memory of several copies of a large photo
            return Response(found_segments(picture_id), media_type="image/png")

    @router.get("/jobs/{job_id}")
    def result(job_id: JobId) -> Response:
        """A result of the size that a page shows."""
        with Image.open(service.results.path(job_id)) as opened:
            return Response(jpeg(opened, SHOWN_SIDE, SHOWN_QUALITY), media_type="image/jpeg")

    @router.get("/why/{job_id}")
    def why(job_id: JobId) -> Why:
        """Why a result looks as it does."""
        manifest = service.results.manifest(job_id)
        recorded = Recorded(service.results.path(job_id), manifest)
        return Why(
            facts=facts(recorded),
            regions=region_rows(recorded),
            settings=setting_rows(recorded),
            scores=score_rows(recorded),
            curves=recorded.loss_curves,
        )

    return router


def choice_routes(choices: Choices) -> APIRouter:
    """Blind choices, gathered from every browser."""
    router = APIRouter(prefix="/page/data/choices", include_in_schema=False)

    @router.get("")
    def standings() -> list[Standing]:
        """What the blind choices of everyone come to."""
        return choices.standings()

    @router.post("", status_code=201)
    def choose(choice: Choice) -> list[Standing]:
        """Keep a blind choice."""
        choices.add(choice)
        return choices.standings()

    return router


def segments_png(image: Image.Image) -> bytes:
    """The numbered segments of a picture as a gray PNG, its longer side at most 640 pixels."""
    numbered = Image.fromarray(segments(image).astype(np.uint8))
    scale = min(1.0, SEGMENTS_SIDE / max(image.size))
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    buffer = io.BytesIO()
    numbered.resize(size, Image.Resampling.NEAREST).save(buffer, "PNG")
    return buffer.getvalue()
