"""Routes of jobs: submit, follow, fetch, cancel; and the history of them."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field
from sqlalchemy.exc import SQLAlchemyError
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from velatura.service.files import MANIFEST
from velatura.service.jobs import Job, MissingError, State
from velatura.service.live import Live, Phase
from velatura.service.requests import NO_NUL, FitRequest, JobRequest, Strict
from velatura.service.service import Moment, Service, Watch

JobId = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$", description="A job.")]
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        description="The same key gives the same job, however often it is sent.",
    ),
]
SEARCH_MOST = 200
DATABASE_PAUSE = 2.0  # seconds between two tries to ask a database that does not answer
IMAGE: dict[int | str, dict[str, Any]] = {200: {"content": {"image/jpeg": {}, "image/png": {}}}}


class Undo(Strict):
    """What brings something removed back, as the answer to its removal had it."""

    undo: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


class RemovedJob(BaseModel):
    """A removed job; ``undo`` brings it back, through POST /jobs/undo."""

    id: str
    undo: str


class JobPhase(BaseModel):
    """What a running job is about: step ``step`` of ``steps`` of what comes before painting, or of painting itself."""

    phase: Phase
    step: int
    steps: int


class Progress(BaseModel):
    """A job as it stands, with what it shows while it runs; ``preview`` is a JPEG as a data URL."""

    job: Job
    ahead: int = 0
    stage: str = ""
    done: int = 0
    total: int = 0
    step: int = 0
    losses: dict[str, float] = {}
    preview: str = ""
    phase: JobPhase | None = None


def progress_of(moment: Moment, shown_step: int = 0) -> Progress:
    """A moment as clients read it; its preview only where it is later than ``shown_step``."""
    live = moment.live
    if live is None:
        return Progress(job=moment.job, ahead=moment.ahead)
    fresh = live.preview and live.preview_step != shown_step
    return Progress(
        job=moment.job,
        stage=live.stage,
        done=live.done,
        total=live.total,
        step=live.step,
        losses=dict(live.losses),
        preview=f"data:image/jpeg;base64,{base64.b64encode(live.preview).decode()}" if fresh else "",
        phase=_phase_of(moment.job, live),
    )


def _phase_of(job: Job, live: Live) -> JobPhase | None:
    """What a running picture is about; None for a fit."""
    if isinstance(job.request, FitRequest):
        return None
    return JobPhase(phase=live.phase, step=min(live.done + 1, live.total), steps=live.total)


def job_routes(service: Service) -> APIRouter:
    """The routes of jobs."""
    router = APIRouter(tags=["jobs"])
    _add_submission(router, service)
    _add_results(router, service)

    @router.get("/jobs/{job_id}")
    def get(job_id: JobId) -> Progress:
        """A job as it stands."""
        return progress_of(service.moment(job_id))

    @router.get("/jobs/{job_id}/events", response_class=EventSourceResponse)
    async def events(job_id: JobId) -> EventSourceResponse:
        """Server-sent events named ``progress`` until the job is over, the last one named after its state.

        Where a picture's phase goes on, an event named ``phase`` comes first, with ``phase`` (preparing or painting),
        ``step`` and ``steps``.
        """
        await run_in_threadpool(service.moment, job_id)
        return EventSourceResponse(_events(Watch(service, job_id)))

    @router.get("/history")
    def history(
        search: Annotated[str, Query(max_length=SEARCH_MOST, pattern=NO_NUL)] = "",
        state: State | None = None,
        before: Annotated[int, Query(ge=0, le=2**62)] = 0,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
    ) -> list[Job]:
        """Jobs, the latest first, whose title, group or reason holds every word of ``search``; from before a number."""
        return service.history(search, state, before, limit)

    @router.delete("/history/{job_id}")
    def forget(job_id: JobId) -> RemovedJob:
        """Remove a job that is over, and its files; they are deleted after a day, or when 50 more were removed."""
        return RemovedJob(id=job_id, undo=service.forget(job_id))

    @router.post("/jobs/undo")
    def undo(request: Undo) -> Job:
        """Bring a removed job back."""
        return service.bring_back(request.undo)

    return router


def _add_submission(router: APIRouter, service: Service) -> None:
    @router.post(
        "/jobs", status_code=202, responses={200: {"model": Job, "description": "The job of this key, as it stands."}}
    )
    def submit(request: JobRequest, response: Response, key: Key = None) -> Job:
        """Queue a job."""
        job, is_new = service.submit(request, key)
        response.status_code = 202 if is_new else 200
        response.headers["Location"] = f"/api/v1/jobs/{job.id}"
        return job

    @router.delete("/jobs/{job_id}")
    def cancel(job_id: JobId) -> Job:
        """Cancel a job that waits or runs; one that is over stays as it is."""
        return service.cancel(job_id)


def _add_results(router: APIRouter, service: Service) -> None:
    @router.get("/jobs/{job_id}/result", response_class=FileResponse, responses=IMAGE)
    def result(job_id: JobId) -> FileResponse:
        """The picture as PNG, with its manifest inside."""
        return FileResponse(service.results.path(job_id), media_type="image/png", filename=f"{job_id[:8]}.png")

    @router.get("/jobs/{job_id}/manifest", response_class=FileResponse)
    def manifest(job_id: JobId) -> FileResponse:
        """The manifest as JSON."""
        return FileResponse(service.results.path(job_id, MANIFEST), media_type="application/json")

    @router.get("/jobs/{job_id}/small", response_class=Response, responses=IMAGE)
    def small(job_id: JobId) -> Response:
        """The picture as a small JPEG."""
        return Response(service.results.small(job_id), media_type="image/jpeg")

    @router.get("/jobs/{job_id}/layers/{name}", response_class=FileResponse, responses=IMAGE)
    def layer(job_id: JobId, name: str) -> FileResponse:
        """A picture from inside the run, by its name in the job's ``outcome.layers``."""
        file = service.jobs.get(job_id).outcome.layers.get(name)
        if file is None:
            raise MissingError("This job has no layer of that name: its outcome lists them.")
        return FileResponse(service.results.path(job_id, file), media_type="image/png")


async def _events(watching: Watch) -> AsyncIterator[ServerSentEvent]:
    """Moments of a job, each when something changed; a slow client misses some, and never the last."""
    shown_step, shown_phase = 0, None
    while not watching.is_over:
        try:
            moment = await run_in_threadpool(watching.look)
        except SQLAlchemyError:  # a database that is away for a while must not end the events
            await asyncio.sleep(DATABASE_PAUSE)
            continue
        if moment is not None:
            progress = progress_of(moment, shown_step)
            shown_step = moment.live.preview_step if moment.live else shown_step
            if progress.phase not in (None, shown_phase):
                shown_phase = progress.phase
                yield ServerSentEvent(progress.phase.model_dump_json(), event="phase")
            yield ServerSentEvent(
                progress.model_dump_json(), event=moment.job.state if watching.is_over else "progress"
            )
        await asyncio.sleep(watching.pause)
