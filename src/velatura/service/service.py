"""A server's parts in one object, which the HTTP API and the page share: queue, pictures, results, styles, Studio."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from filelock import FileLock, Timeout

from velatura.app.studio import Studio
from velatura.errors import SettingError
from velatura.service.database import Sessions, close_database, open_database
from velatura.service.files import PictureStore, ResultStore
from velatura.service.jobs import ACTIVE, Job, JobStore, JobStyle, MissingError, State, Submission
from velatura.service.kept_styles import KeptStyles
from velatura.service.live import Board, Live
from velatura.service.metrics import Metrics
from velatura.service.removed_jobs import RemovedJobs
from velatura.service.requests import TEXT, FitRequest, JobRequest, UsedStyle, batch_key
from velatura.service.running import Runner
from velatura.service.settings import ServiceSettings
from velatura.service.styles import StyleShelf
from velatura.service.worker import Worker

log = logging.getLogger("velatura")
LIVE_PAUSE, IDLE_PAUSE = 0.05, 0.2  # seconds between looks at a job that runs, and at one that waits


@dataclass(frozen=True)
class Moment:
    """A job and, while it runs, what it shows; how many wait in front of it while it is queued."""

    job: Job
    live: Live | None = None
    ahead: int = 0


class Service:
    """Jobs, pictures, results and styles of one server.

    ``studio`` is the Studio that all jobs run in (default: one of the settings' model). The worker starts with
    ``start``; then what a crash left running is queued again, once.
    """

    def __init__(self, settings: ServiceSettings, studio: Studio | None = None) -> None:
        self.settings = settings
        self.studio = studio or Studio(settings.model, settings.device, settings.dtype)
        self._lock = FileLock(settings.data / "server.lock", timeout=0, thread_local=False)
        settings.data.mkdir(parents=True, exist_ok=True)
        self._sessions: Sessions = open_database(settings.database_url)
        self.jobs = JobStore(self._sessions, settings.queue)
        self.pictures = PictureStore(settings.data / "pictures", self._sessions, settings.max_pixels)
        self.results = ResultStore(settings.data / "results")
        self.styles = StyleShelf(self.studio.library, settings.data, self._sessions)
        self.board = Board(settings.preview_every)
        self.metrics = Metrics(lambda: self.jobs.count("queued"), lambda: self.jobs.count("running"))
        self.removed = RemovedJobs(settings.data / "removed-results", self._sessions, self.jobs, self.results)
        self._kept, self._keeping = KeptStyles(settings.data / "kept-styles", self.studio.library), threading.Lock()
        self.runner = Runner(self.studio, self.pictures, self._kept)
        self.worker = Worker(self.runner, self.jobs, self.results, self.board, self.metrics)

    def load_model(self) -> None:
        """Load the model before the first job does. Raises ModelError, and SettingError for the device or format."""
        log.info("The model is loaded: a %s.", type(self.studio.backbone).__name__)  # its name may be a path

    def start(self) -> None:
        """Start the worker, if it is not. Raises SettingError where another server uses the data folder."""
        if self.worker.is_alive:
            return
        try:
            self._lock.acquire()
        except Timeout:
            raise SettingError(
                f"Another server uses the data folder {self.settings.data}: stop it, or give another with --data."
            ) from None
        self.jobs.recover()
        self._forget_oldest()
        self.worker.start()

    def stop(self) -> None:
        """End the worker within a step, with its job back in the queue, and close the database."""
        self.worker.stop()
        close_database(self._sessions)
        self._lock.release()

    def submit(self, request: JobRequest, key: str | None = None) -> tuple[Job, bool]:
        """Queue a request; whether it is new. The same request ``key`` gives the job that is there.

        Raises QueueFullError, KeyUsedError for a key that came with another request, MissingError for a picture or
        style that is not there, and a VelaturaError for what else is wrong.
        """
        earlier = self.jobs.earlier(request, key)  # first: what was right then may be refused by now
        if earlier is not None:
            return self._seen(earlier), False
        method = self.runner.check(request)
        with self._keeping:  # no copy of a style is deleted between its making and its job's
            asked = self._with_kept_styles(request)
            job, is_new = self.jobs.add(Submission(asked, self._title(asked), key, batch_key(asked, method)))
        self.worker.wake()
        return self._seen(job), is_new

    def _with_kept_styles(self, request: JobRequest) -> JobRequest:
        """A request that names the copies of its styles: what becomes of the library does not concern its job."""
        if isinstance(request, FitRequest):
            return request
        return request.with_styles(
            lambda used: used.kept or self._kept.keep(used.style) if used.is_of_library else used.kept
        )

    def _title(self, request: JobRequest) -> str:
        """A line to find a job by: contents, styles, method."""
        if isinstance(request, FitRequest):
            names = ", ".join(self.pictures.get(picture).name for picture in request.pictures)
            return f"{request.name} from {names} · {request.method}"
        named = " + ".join(dict.fromkeys(self.style_name(used.style) for used in request.used_styles))
        return f"{self.pictures.get(request.content).name} in {named} · {request.method}"

    def style_name(self, style: str) -> str:
        """A request's style as it may be shown: of an uploaded picture its name."""
        is_picture = style.startswith("picture:")
        return self.pictures.get(style.removeprefix("picture:")).name if is_picture else style

    def _seen(self, job: Job) -> Job:
        """A job with its styles as a user sees them."""
        if isinstance(job.request, FitRequest):
            return job
        return job.model_copy(update={"styles": [self._job_style(used) for used in job.request.used_styles]})

    def _job_style(self, used: UsedStyle) -> JobStyle:
        try:
            name = self.style_name(used.style).removeprefix(TEXT)
        except MissingError:
            name = "picture"
        return JobStyle(style=used.style, name=name, kept=used.kept, missing=self.runner.is_missing(used))

    def cancel(self, job_id: str) -> Job:
        """Cancel a job that waits or runs, within a step; one that is over stays as it is. Raises MissingError."""
        before = self.jobs.get(job_id)
        job = self.jobs.cancel(job_id)
        if before.state in ACTIVE and job.state == "cancelled":
            self.worker.cancel(job_id)
            self.metrics.cancelled(job.request.kind)
        return self._seen(job)

    def forget(self, job_id: str) -> str:
        """Remove a job that is over, and its files; what ``bring_back`` takes, for a while. Raises MissingError, and
        VelaturaError for one that is not over.
        """
        token = self.removed.add(job_id)
        self._forget_oldest()
        return token

    def bring_back(self, token: str) -> Job:
        """Bring a removed job back. Raises MissingError."""
        with self._keeping:
            job_id = self.removed.restore(token)
        return self._seen(self.jobs.get(job_id))

    def _forget_oldest(self) -> None:
        """Delete removed jobs that can be brought back no longer, and the copies of styles that no job uses."""
        with self._keeping:
            if self.removed.forget_oldest():
                self._kept.prune(self.jobs.uses)

    def history(self, search: str = "", state: State | None = None, before: int = 0, limit: int = 50) -> list[Job]:
        """Jobs, the latest first; see JobStore.history."""
        return [self._seen(job) for job in self.jobs.history(search, state, before, limit)]

    def retry_after(self) -> int:
        """Seconds after which a job fewer waits, as far as can be told."""
        return max(1, round(self.metrics.mean_seconds))

    def moment(self, job_id: str) -> Moment:
        """A job as it stands and what it shows. Raises MissingError."""
        job = self.jobs.get(job_id)
        live = self.board.get(job_id) if job.state == "running" else None
        return Moment(self._seen(job), live, self.jobs.ahead(job) if job.state == "queued" else 0)

    def watch(self, job_id: str) -> Iterator[Moment]:
        """A job's moments, each when something changed, until it is over. Raises MissingError."""
        watching = Watch(self, job_id)
        while not watching.is_over:
            moment = watching.look()
            if moment is not None:
                yield moment
            time.sleep(watching.pause)


class Watch:
    """Somebody who looks at a job again and again, ``pause`` seconds apart, until it ``is_over``."""

    def __init__(self, service: Service, job_id: str) -> None:
        self._service, self._job_id = service, job_id
        self._shown: tuple[str, int, int] | None = None
        self.is_over, self.pause = False, 0.0

    def look(self) -> Moment | None:
        """The job's moment where something changed since the last look. Raises MissingError."""
        live = self._service.board.get(self._job_id)
        if live is not None and self._shown == ("running", live.version, 0):
            return None  # without asking the database
        moment = self._service.moment(self._job_id)
        self.is_over = moment.job.state not in ACTIVE
        self.pause = 0.0 if self.is_over else LIVE_PAUSE if moment.live else IDLE_PAUSE
        shown = (moment.job.state, moment.live.version if moment.live else 0, moment.ahead)
        if shown == self._shown:
            return None
        self._shown = shown
        return moment
