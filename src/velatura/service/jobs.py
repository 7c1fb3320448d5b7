"""Jobs in the database: submitted, claimed, finished, cancelled; each change is one transaction."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import ColumnElement, String, cast, func, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from velatura.errors import VelaturaError
from velatura.service.database import JobRow, RemovedJobRow, Sessions
from velatura.service.requests import FitRequest, JobRequest, StylizeRequest, is_same

State = Literal["queued", "running", "done", "failed", "cancelled"]
QUEUED, RUNNING, DONE, FAILED, CANCELLED = "queued", "running", "done", "failed", "cancelled"
ACTIVE = (QUEUED, RUNNING)
MOST_ATTEMPTS = 2
BROKEN = "The server was stopped in the middle of this job, twice: send it again, with a smaller size if it ran long."


class QueueFullError(VelaturaError):
    """As many jobs wait as may."""


class KeyUsedError(VelaturaError):
    """A request key that came with another request before."""


class MissingError(VelaturaError):
    """Something that a request names and that is not there."""


class Outcome(BaseModel):
    """What came of a job: scores, and the files of its layers by name; for a fit, the style's name."""

    model_config = ConfigDict(frozen=True)

    style: str = ""
    scores: dict[str, float] = {}
    layers: dict[str, str] = {}


class JobStyle(BaseModel):
    """A style of a job: what the request calls it (``style``), what a user does, and whether it is gone, so that the
    job cannot be made again.
    """

    model_config = ConfigDict(frozen=True)

    style: str
    name: str
    kept: str = ""
    missing: bool = False


class Job(BaseModel):
    """A job as it stands: ``reason`` says why it failed; times are seconds since 1970."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    id: str
    number: int
    state: State
    request: Annotated[StylizeRequest | FitRequest, Field(discriminator="kind")]
    title: str
    reason: str
    attempts: int
    created: float
    started: float | None
    finished: float | None
    outcome: Outcome
    styles: list[JobStyle] = []


@dataclass(frozen=True)
class Submission:
    """A checked request, a line to find it by, its request key and the key of jobs that share passes with it."""

    request: JobRequest
    title: str
    key: str | None = None
    batch_key: str = ""


class JobStore:
    """The table of jobs; at most ``most_queued`` wait. Safe to use from several threads."""

    def __init__(self, sessions: Sessions, most_queued: int) -> None:
        self._sessions, self._most_queued = sessions, most_queued

    def add(self, submission: Submission) -> tuple[Job, bool]:
        """Queue a request; whether it is new, or came at the same time under the same request key.

        Raises QueueFullError, and KeyUsedError where the key came with another request.
        """
        asked = submission.request.model_dump(mode="json")
        row = JobRow(
            id=uuid.uuid4().hex,
            key=submission.key,
            state=QUEUED,
            request=asked,
            title=submission.title,
            group=submission.request.group,
            batch_key=submission.batch_key,
            created=time.time(),
            outcome={},
        )
        try:
            with self._sessions.begin() as session:
                if self._count(session, QUEUED) >= self._most_queued:
                    raise QueueFullError(f"{self._most_queued} jobs wait already, as many as may: try again later.")
                session.add(row)
        except IntegrityError:  # the same key came at the same time
            earlier = self.earlier(submission.request, submission.key)
            if earlier is None:
                raise
            return earlier, False
        return Job.model_validate(row), True

    def earlier(self, request: JobRequest, key: str | None) -> Job | None:
        """The job that came under a request key. Raises KeyUsedError where that was another request."""
        if key is None:
            return None
        with self._sessions() as session:
            row = session.scalar(select(JobRow).where(JobRow.key == key))
        if row is None:
            return None
        if not is_same(row.request, request):
            raise KeyUsedError("This request key came with another request before: give every request its own.")
        return Job.model_validate(row)

    def get(self, job_id: str) -> Job:
        """A job by id. Raises MissingError."""
        with self._sessions() as session:
            row = session.scalar(select(JobRow).where(JobRow.id == job_id, _in_history()))
        if row is None:
            raise MissingError("There is no such job: it may have been deleted from the history.")
        return Job.model_validate(row)

    def ahead(self, job: Job) -> int:
        """How many jobs wait in front of a queued one."""
        with self._sessions() as session:
            return self._count(session, QUEUED, JobRow.number < job.number)

    def count(self, state: State) -> int:
        """How many jobs are in a state."""
        with self._sessions() as session:
            return self._count(session, state)

    def claim(self, share: Mapping[str, int]) -> list[Job]:
        """Set the job that waited longest running, with others of its batch key: by a method's name, how many."""
        with self._sessions.begin() as session:
            oldest = session.scalar(select(JobRow).where(JobRow.state == QUEUED).order_by(JobRow.number).limit(1))
            if oldest is None:
                return []
            rows = [oldest]
            if oldest.batch_key:
                alike = select(JobRow).where(JobRow.state == QUEUED, JobRow.batch_key == oldest.batch_key)
                most = share.get(str(oldest.request.get("method")), 1)
                rows = [*session.scalars(alike.order_by(JobRow.number).limit(most))]
            numbers = [row.number for row in rows if self._start(session, row.number)]
            claimed = session.scalars(
                select(JobRow)
                .where(JobRow.number.in_(numbers))
                .order_by(JobRow.number)
                .execution_options(populate_existing=True)
            )
            return [Job.model_validate(row) for row in claimed]

    def _start(self, session: Session, number: int) -> bool:
        return _moved(
            session,
            JobRow.number == number,
            (QUEUED,),
            state=RUNNING,
            started=time.time(),
            attempts=JobRow.attempts + 1,
        )

    def finish(self, job_id: str, outcome: Outcome) -> bool:
        """Set a running job done; False where it was cancelled meanwhile."""
        return self._move(job_id, (RUNNING,), state=DONE, finished=time.time(), outcome=outcome.model_dump(mode="json"))

    def fail(self, job_id: str, reason: str) -> bool:
        """Set a running job failed, with a sentence that says why."""
        return self._move(job_id, (RUNNING,), state=FAILED, finished=time.time(), reason=reason)

    def cancel(self, job_id: str) -> Job:
        """Set a queued or running job cancelled; one that is over stays as it is. Raises MissingError."""
        self._move(job_id, ACTIVE, state=CANCELLED, finished=time.time())
        return self.get(job_id)

    def requeue(self, job_id: str) -> bool:
        """Put a running job back, which keeps its place; it does not count as an attempt."""
        return self._move(job_id, (RUNNING,), state=QUEUED, started=None, attempts=JobRow.attempts - 1)

    def recover(self) -> list[str]:
        """After a crash: running jobs are queued again, once, then failed. The ids of those that are queued again."""
        with self._sessions.begin() as session:
            running = [*session.scalars(select(JobRow).where(JobRow.state == RUNNING))]
            again = [row for row in running if row.attempts < MOST_ATTEMPTS]
            for row in running:
                if row in again:
                    row.state, row.started = QUEUED, None
                else:
                    row.state, row.reason, row.finished = FAILED, BROKEN, time.time()
        return [row.id for row in again]

    def history(self, search: str = "", state: State | None = None, before: int = 0, limit: int = 50) -> list[Job]:
        """Jobs, the latest first, whose title, group or reason holds each word of ``search``; before a number."""
        query = select(JobRow).where(_in_history()).order_by(JobRow.number.desc()).limit(limit)
        for word in search.split():
            places = (JobRow.title, JobRow.group, JobRow.reason)
            query = query.where(or_(*(place.icontains(word, autoescape=True) for place in places)))
        query = query.where(JobRow.state == state) if state else query
        query = query.where(JobRow.number < before) if before else query
        with self._sessions() as session:
            return [Job.model_validate(row) for row in session.scalars(query)]

    def uses(self, digest: str) -> bool:
        """Whether a job, a removed one too, names this copy of a style."""
        with self._sessions() as session:
            query = select(JobRow.number).where(cast(JobRow.request, String).contains(digest)).limit(1)
            return session.scalar(query) is not None

    def _move(self, job_id: str, states: Sequence[str], **values: Any) -> bool:
        with self._sessions.begin() as session:
            return _moved(session, JobRow.id == job_id, states, **values)

    @staticmethod
    def _count(session: Session, state: str, *conditions: ColumnElement[bool]) -> int:
        query = select(func.count()).select_from(JobRow).where(JobRow.state == state, *conditions)
        return session.scalar(query) or 0


def _in_history() -> ColumnElement[bool]:
    """The jobs that were not removed."""
    return JobRow.id.not_in(select(RemovedJobRow.job))


def _moved(session: Session, which: ColumnElement[bool], states: Sequence[str], **values: Any) -> bool:
    """Change one job if it is in one of ``states``; whether it was. Nobody who comes second overrides."""
    changed = session.execute(update(JobRow).where(which, JobRow.state.in_(states)).values(**values))
    return bool(getattr(changed, "rowcount", 0))
