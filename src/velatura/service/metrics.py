"""What Prometheus reads of a server: how many jobs wait, how long they take, what fails, which requests come."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (1, 2, 5, 10, 20, 40, 60, 120, 300, 600, 1800, 3600)


class Metrics:
    """The counters of one server; ``queued`` and ``running`` tell how many jobs are in those states."""

    def __init__(self, queued: Callable[[], int], running: Callable[[], int]) -> None:
        self._registry = CollectorRegistry()
        waiting = Gauge("velatura_jobs_queued", "Jobs that wait.", registry=self._registry)
        waiting.set_function(queued)
        active = Gauge("velatura_jobs_running", "Jobs that run.", registry=self._registry)
        active.set_function(running)
        self._jobs = Counter(
            "velatura_jobs", "Jobs that ended, by kind and end.", ["kind", "end"], registry=self._registry
        )
        self._seconds = Histogram(
            "velatura_job_seconds", "Seconds of a job's run.", ["kind"], buckets=SECONDS, registry=self._registry
        )
        self._requests = Counter(
            "velatura_requests", "Requests, by route and status.", ["route", "status"], registry=self._registry
        )
        self._spent, self._ended = 0.0, 0

    def done(self, kind: str, seconds: float) -> None:
        """Count a job that succeeded."""
        self._jobs.labels(kind, "done").inc()
        self._seconds.labels(kind).observe(seconds)
        self._spent, self._ended = self._spent + seconds, self._ended + 1

    def failed(self, kind: str) -> None:
        """Count a job that failed."""
        self._jobs.labels(kind, "failed").inc()

    def cancelled(self, kind: str) -> None:
        """Count a job that was cancelled."""
        self._jobs.labels(kind, "cancelled").inc()

    def request(self, route: str, status: int) -> None:
        """Count an answered request; ``route`` is the route's pattern, so that no name of a user's is in it."""
        self._requests.labels(route, str(status)).inc()

    @property
    def mean_seconds(self) -> float:
        """The mean of the jobs' seconds so far; 10 before the first."""
        return self._spent / self._ended if self._ended else 10.0

    def text(self) -> bytes:
        """All of them in Prometheus's text format."""
        return generate_latest(self._registry)
