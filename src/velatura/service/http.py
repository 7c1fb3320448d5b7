"""The HTTP API as a FastAPI app over a Service: jobs, history, pictures, masks; what else there is in files beside."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from pydantic import BaseModel
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException

from velatura.errors import VelaturaError
from velatura.service.files import without_paths
from velatura.service.guard import Guard
from velatura.service.http_jobs import job_routes
from velatura.service.http_lists import list_routes
from velatura.service.http_pictures import picture_routes
from velatura.service.http_styles import style_routes
from velatura.service.jobs import KeyUsedError, MissingError, QueueFullError
from velatura.service.refusals import sentence_of
from velatura.service.service import Service
from velatura.version import __version__

log = logging.getLogger("velatura.service")
API = "/api/v1"
DATABASE_RETRY = 5  # seconds after which to ask again, where the database does not answer
STATUS: tuple[tuple[type[VelaturaError], int], ...] = (
    (QueueFullError, 429),
    (KeyUsedError, 409),
    (MissingError, 404),
    (VelaturaError, 422),
)


class Problem(BaseModel):
    """Why a request was refused, in one sentence."""

    error: str


def create_app(service: Service) -> FastAPI:
    """The API over a service, which starts and stops with the app; the page can be mounted on it."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        service.stop()

    refusals: dict[int | str, dict[str, Any]] = {
        status: {"model": Problem, "description": text}
        for status, text in (
            (400, "The body cannot be read."),
            (401, "The token is missing or wrong."),
            (403, "The request comes from another site."),
            (404, "There is no such thing."),
            (409, "The request key came with another request."),
            (413, "The request is too large."),
            (422, "Something in the request is wrong."),
            (503, "The database does not answer, or the worker has ended: try again as Retry-After says."),
            (429, "Too many jobs wait, or too many requests came: wait as long as Retry-After says."),
        )
    }
    app = FastAPI(
        title="Velatura",
        version=__version__,
        summary="Diffusion style transfer: the style goes on, the content stays.",
        lifespan=lifespan,
        docs_url=None,  # its page loads scripts from other hosts
        redoc_url=None,
        openapi_url=f"{API}/openapi.json",
        responses=refusals,
    )
    app.state.service = service
    api = APIRouter(prefix=API)
    for routes in (job_routes, picture_routes, style_routes, list_routes):
        api.include_router(routes(service))
    app.include_router(api)
    app.include_router(health_routes(service))
    _add_problems(app, service)
    app.add_middleware(Guard, settings=service.settings, metrics=service.metrics)
    return app


def health_routes(service: Service) -> APIRouter:
    """What watches a server asks: whether it works, and its counters."""
    router = APIRouter(tags=["health"])

    @router.get("/healthz", responses={503: {"description": "The worker has ended."}})
    def healthz() -> JSONResponse:
        """Whether the worker works and the database answers."""
        queued, alive = service.jobs.count("queued"), service.worker.is_alive
        return JSONResponse({"ok": alive, "queued": queued}, status_code=200 if alive else 503)

    @router.get("/metrics", response_class=PlainTextResponse)
    def metrics() -> Response:
        """Counters in Prometheus's text format."""
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return router


def _add_problems(app: FastAPI, service: Service) -> None:
    """Answer what is wrong with one sentence, as JSON."""

    @app.exception_handler(VelaturaError)
    def wrong(_request: Request, error: VelaturaError) -> JSONResponse:
        status = next(status for kind, status in STATUS if isinstance(error, kind))
        waiting = {"Retry-After": str(service.retry_after())} if status == 429 else None
        return JSONResponse({"error": without_paths(str(error))}, status, waiting)

    @app.exception_handler(RequestValidationError)
    def unreadable(_request: Request, error: RequestValidationError) -> JSONResponse:
        return JSONResponse({"error": sentence_of(error.errors())}, 422)

    @app.exception_handler(SQLAlchemyError)
    def without_database(_request: Request, error: SQLAlchemyError) -> JSONResponse:
        log.error("The database does not answer (%s).", type(error).__name__)  # its text may hold what a user sent
        sentence = "The database does not answer: nothing was changed, so try again in a moment."
        return JSONResponse({"error": sentence}, 503, {"Retry-After": str(DATABASE_RETRY)})

    @app.exception_handler(HTTPException)
    def refused(_request: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse({"error": f"{error.detail.rstrip('.')}."}, error.status_code, error.headers)
