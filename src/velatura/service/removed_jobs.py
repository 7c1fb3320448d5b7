"""Jobs that were removed from the history and can be brought back for a while."""

from __future__ import annotations

import shutil
import time
import uuid
from pathlib import Path

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from velatura.errors import VelaturaError
from velatura.service.database import JobRow, RemovedJobRow, Sessions
from velatura.service.files import ResultStore
from velatura.service.jobs import ACTIVE, JobStore, MissingError

MOST_REMOVED = 50  # removed jobs that can be brought back
KEPT_SECONDS = 24 * 3600.0  # and for how long


class RemovedJobs:
    """Removed jobs: their rows stay, marked, and the files of their results are moved into a folder of their own.

    The latest 50 can be brought back, for a day; then they are deleted.
    """

    def __init__(self, folder: Path, sessions: Sessions, jobs: JobStore, results: ResultStore) -> None:
        self._folder, self._sessions, self._jobs, self._results = folder, sessions, jobs, results

    def add(self, job_id: str) -> str:
        """Remove a job that is over; what ``restore`` brings it back by. Raises MissingError, and VelaturaError for one
        that is not over.
        """
        job = self._jobs.get(job_id)
        if job.state in ACTIVE:
            raise VelaturaError("This job is not over: cancel it first.")
        token = uuid.uuid4().hex
        try:
            with self._sessions.begin() as session:
                session.add(RemovedJobRow(id=token, job=job_id, removed=time.time()))
                session.get_one(JobRow, job.number).key = None  # the same request may come again
        except IntegrityError:  # somebody else was quicker
            raise MissingError("There is no such job: it was just removed.") from None
        # After the mark: a crash between leaves files that nobody sees, and no job without its files.
        _move(self._results.folder(job_id), self._folder / token)
        return token

    def restore(self, token: str) -> str:
        """Bring a job back; its id. Raises MissingError."""
        with self._sessions() as session:
            row = session.get(RemovedJobRow, token)
        if row is None:
            raise MissingError("There is no such removed job: it was brought back already, or too long ago.")
        _move(self._folder / token, self._results.folder(row.job))
        with self._sessions.begin() as session:
            session.execute(delete(RemovedJobRow).where(RemovedJobRow.id == token))
        return row.job

    def forget_oldest(self) -> int:
        """Delete for good what can be brought back no longer; how many jobs that were."""
        with self._sessions.begin() as session:
            rows = [*session.scalars(select(RemovedJobRow).order_by(RemovedJobRow.removed.desc()))]
            late = time.time() - KEPT_SECONDS
            gone = [row for number, row in enumerate(rows) if number >= MOST_REMOVED or row.removed < late]
            for row in gone:
                self._delete(session, row)
        return len(gone)

    def _delete(self, session: Session, row: RemovedJobRow) -> None:
        shutil.rmtree(self._folder / row.id, ignore_errors=True)
        self._results.delete(row.job)
        session.execute(delete(JobRow).where(JobRow.id == row.job))
        session.delete(row)


def _move(folder: Path, to: Path) -> None:
    """Move a folder, if it is there, unless a run that was killed has moved it already."""
    if folder.is_dir() and not to.exists():
        to.parent.mkdir(parents=True, exist_ok=True)
        folder.rename(to)
