"""The worker: one thread with one Studio that takes jobs from the database and does them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import replace

from velatura.app.failures import sentence
from velatura.errors import StoppedError, VelaturaError
from velatura.progress import Silent
from velatura.registry import METHODS, method_class
from velatura.service.files import ResultStore, without_paths
from velatura.service.jobs import Job, JobStore, Outcome
from velatura.service.live import Board, JobProgress
from velatura.service.metrics import Metrics
from velatura.service.requests import FitRequest, StylizeRequest
from velatura.service.running import Runner

log = logging.getLogger("velatura")
IDLE = 1.0  # seconds between looks at the queue where nobody wakes the worker


class Worker:
    """Does queued jobs until it is stopped; a job that runs then is put back into the queue."""

    def __init__(self, runner: Runner, jobs: JobStore, results: ResultStore, board: Board, metrics: Metrics) -> None:
        self._runner, self._jobs, self._results, self._board = runner, jobs, results, board
        self._metrics = metrics
        self._cancelled: set[str] = set()
        self._wake, self._stopping = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, name="velatura-worker", daemon=True)

    @property
    def is_alive(self) -> bool:
        """Whether the worker works, or waits for work."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout: float = 30.0) -> None:
        """End the thread within a step."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def wake(self) -> None:
        """Look at the queue now."""
        self._wake.set()

    def cancel(self, job_id: str) -> None:
        """Stop a job, if it runs, before its next step."""
        self._cancelled.add(job_id)

    def _work(self) -> None:
        share = {name: method_class(name).batch for name in METHODS}
        broke_off = False
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                if broke_off:
                    self._jobs.recover()
                broke_off = False
                jobs = self._jobs.claim(share)
                if jobs:
                    self._do(jobs)
                    continue
            except Exception as error:  # a database that is away for a while must not end the worker
                log.error("The queue cannot be read (%s): trying again.", type(error).__name__)
                broke_off = True
            self._wake.wait(IDLE)

    def _do(self, jobs: Sequence[Job]) -> None:
        """Do jobs that share passes; each alone where they cannot be done together."""
        ids = [job.id for job in jobs]
        began = time.monotonic()
        self._board.show(ids, lambda live: replace(live, stage="loading"))
        try:
            outcomes = self._outcomes(jobs)
        except StoppedError:
            for job_id in ids:  # those that were not cancelled; none where all were
                self._jobs.requeue(job_id)
        except Exception as error:
            if len(jobs) > 1:
                for job in jobs:
                    self._do([job])
                return
            self._fail(jobs[0], error)
        else:
            for job, outcome in zip(jobs, outcomes, strict=True):
                if self._jobs.finish(job.id, outcome):
                    self._metrics.done(job.request.kind, (time.monotonic() - began) / len(jobs))
                else:
                    self._results.delete(job.id)
        finally:
            self._board.clear(ids)
            self._cancelled -= set(ids)

    def _outcomes(self, jobs: Sequence[Job]) -> list[Outcome]:
        studio, ids = self._runner.studio, [job.id for job in jobs]
        if self._stopped(ids):
            raise StoppedError("Stopped before it began.")
        studio.progress = JobProgress(self._board, ids, studio.backbone, lambda: self._stopped(ids))
        try:
            first = jobs[0].request
            if isinstance(first, FitRequest):
                style = self._runner.fit(first, is_again=jobs[0].attempts > 1)
                return [Outcome(style=style.name)]
            requests = [job.request for job in jobs if isinstance(job.request, StylizeRequest)]
            made = self._runner.stylize(requests)
        finally:
            studio.progress = Silent()
        outcomes = []
        for job, result in zip(jobs, made, strict=True):
            layers = self._results.add(job.id, result)
            outcomes.append(Outcome(scores=dict(result.scores), layers=layers))
        return outcomes

    def _stopped(self, ids: Sequence[str]) -> bool:
        """Whether the server ends, or every job of the run was cancelled."""
        return self._stopping.is_set() or self._cancelled.issuperset(ids)

    def _fail(self, job: Job, error: Exception) -> None:
        reason = without_paths(sentence(error))
        known = isinstance(error, VelaturaError)
        # The sentence may name what a user sent: the log says only what kind of error it was.
        log.log(logging.INFO if known else logging.ERROR, "Job %s failed: %s.", job.id, type(error).__name__)
        self._jobs.fail(job.id, reason)
        self._metrics.failed(job.request.kind)
