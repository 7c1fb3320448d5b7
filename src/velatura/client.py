"""A client of a Velatura server: pictures up, jobs queued and followed, results down.

>>> client = Client("http://127.0.0.1:7860")  # doctest: +SKIP
>>> job = client.stylize(Path("photo.jpg"), "my style", strength=0.6)  # doctest: +SKIP
>>> Path("out.png").write_bytes(client.result(client.wait(job.id).id))  # doctest: +SKIP
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

import httpx

from velatura.errors import VelaturaError

API = "/api/v1"
PHASE = "phase"
OVER = ("done", "failed", "cancelled")


class ServerError(VelaturaError):
    """A request that the server refused: its sentence, the ``status``, and the seconds to wait where it said so."""

    def __init__(self, sentence: str, status: int, retry_after: float = 0.0) -> None:
        super().__init__(sentence)
        self.status, self.retry_after = status, retry_after


@dataclass(frozen=True)
class RemoteJob:
    """A job on the server. ``state`` is queued, running, done, failed or cancelled; ``reason`` says why it failed."""

    id: str
    state: str
    title: str
    reason: str
    request: Mapping[str, Any]
    outcome: Mapping[str, Any]

    @staticmethod
    def of(answer: Mapping[str, Any]) -> RemoteJob:
        """A job of a server's answer."""
        names = ("id", "state", "title", "reason", "request", "outcome")
        return RemoteJob(**{name: answer[name] for name in names})


@dataclass(frozen=True)
class RemoteProgress:
    """A job at a moment: ``done`` of ``total`` items of the loop ``stage``; ``preview`` is a JPEG file, or empty."""

    job: RemoteJob
    ahead: int
    stage: str
    done: int
    total: int
    step: int
    losses: Mapping[str, float] = field(default_factory=dict)
    preview: bytes = b""

    @staticmethod
    def of(answer: Mapping[str, Any]) -> RemoteProgress:
        """A moment of a server's answer."""
        encoded = str(answer["preview"]).partition(",")[2]
        same = {name: answer[name] for name in ("ahead", "stage", "done", "total", "step", "losses")}
        return RemoteProgress(RemoteJob.of(answer["job"]), **same, preview=base64.b64decode(encoded))


class Client:
    """Talks to the server at ``url``, with its ``token`` where it has one. Raises ServerError for what it refuses."""

    def __init__(self, url: str, token: str = "", timeout: float = 60.0, http: httpx.Client | None = None) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = http or httpx.Client(base_url=url, headers=headers, timeout=timeout)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def upload(self, picture: Path | bytes, name: str = "picture.png") -> str:
        """Upload a picture; its id."""
        data = picture if isinstance(picture, bytes) else picture.read_bytes()
        named = name if isinstance(picture, bytes) else picture.name
        return str(self._json("POST", "/pictures", files={"file": (named, data)})["id"])

    def submit(self, request: Mapping[str, Any], key: str = "") -> RemoteJob:
        """Queue a request, as the API's schema has it; the same ``key`` gives the same job."""
        headers = {"Idempotency-Key": key} if key else {}
        return RemoteJob.of(self._json("POST", "/jobs", json=dict(request), headers=headers))

    def stylize(
        self,
        content: Path | bytes,
        style: str | Path | bytes | Mapping[str, float],
        method: str = "guided",
        seed: int = 0,
        key: str = "",
        **settings: Any,
    ) -> RemoteJob:
        """Queue a picture in a style: a name of the server's library, a picture, "text:words", names with weights."""
        if isinstance(style, Mapping):
            styles = [{"style": name, "weight": weight} for name, weight in style.items()]
        else:
            named = style if isinstance(style, str) else f"picture:{self.upload(style)}"
            styles = [{"style": named, "weight": 1.0}]
        asked = {"content": self.upload(content), "styles": styles, "method": method, "settings": settings}
        return self.submit({"kind": "stylize", **asked, "seed": seed}, key)

    def fit(self, pictures: Sequence[Path | bytes], name: str, method: str = "guided", **settings: Any) -> RemoteJob:
        """Queue the fit of a style, which the server's library keeps as ``name``."""
        ids = [self.upload(picture) for picture in pictures]
        return self.submit({"kind": "fit", "name": name, "pictures": ids, "method": method, "settings": settings})

    def job(self, job_id: str) -> RemoteJob:
        """A job as it stands."""
        return RemoteJob.of(self._json("GET", f"/jobs/{job_id}")["job"])

    def events(self, job_id: str) -> Iterator[RemoteProgress]:
        """A job's moments until it is over."""
        with _reached(), self._http.stream("GET", f"{API}/jobs/{job_id}/events", timeout=None) as answer:
            if answer.is_error:
                answer.read()
                _check(answer)
            name = ""
            for line in answer.iter_lines():
                name = line.removeprefix("event:").strip() if line.startswith("event:") else name
                if line.startswith("data:") and name != PHASE:  # a moment has it too
                    yield RemoteProgress.of(json.loads(line.removeprefix("data:")))

    def wait(self, job_id: str) -> RemoteJob:
        """A job when it is over."""
        job = self.job(job_id)
        while job.state not in OVER:  # a server that ends closes its events before the job is over
            for moment in self.events(job_id):
                job = moment.job
        return job

    def result(self, job_id: str) -> bytes:
        """The picture of a job that is done, as PNG with its manifest inside."""
        return self._send("GET", f"/jobs/{job_id}/result").content

    def cancel(self, job_id: str) -> RemoteJob:
        """Cancel a job that waits or runs."""
        return RemoteJob.of(self._json("DELETE", f"/jobs/{job_id}"))

    def history(self, search: str = "", state: str = "", before: int = 0, limit: int = 50) -> list[RemoteJob]:
        """Jobs, the latest first."""
        asked: dict[str, str | int] = {"search": search, "before": before, "limit": limit}
        found = self._json("GET", "/history", params={**asked, **({"state": state} if state else {})})
        return [RemoteJob.of(each) for each in found]

    def remove_job(self, job_id: str) -> str:
        """Remove a job that is over from the history; what ``restore_job`` brings it back by, for a while."""
        return str(self._json("DELETE", f"/history/{job_id}")["undo"])

    def restore_job(self, undo: str) -> RemoteJob:
        """Bring a removed job back."""
        return RemoteJob.of(self._json("POST", "/jobs/undo", json={"undo": undo}))

    def styles(self) -> list[str]:
        """The names of the server's styles."""
        return [str(each["name"]) for each in self._json("GET", "/styles")]

    def remove_style(self, name: str) -> str:
        """Take a style out of the library; what ``restore_style`` brings it back by."""
        return str(self._json("DELETE", f"/styles/{quote(name, safe='')}")["undo"])

    def restore_style(self, undo: str) -> None:
        """Bring a removed style back."""
        self._send("POST", "/styles/undo", json={"undo": undo})

    def mask(self, picture: str, *where: str) -> bytes:
        """A mask of something in an uploaded picture, as PNG; ``where`` as in jobs: "box:…", "point:…"."""
        return self._send("POST", "/masks", json={"picture": picture, "where": where}).content

    def _json(self, verb: str, path: str, **parts: Any) -> Any:
        return self._send(verb, path, **parts).json()

    def _send(self, verb: str, path: str, **parts: Any) -> httpx.Response:
        with _reached():
            answer = self._http.request(verb, f"{API}{path}", **parts)
        _check(answer)
        return answer


@contextmanager
def _reached() -> Iterator[None]:
    """Raise ServerError for a connection that cannot be made, or breaks."""
    try:
        yield
    except httpx.HTTPError as error:
        raise ServerError(f"The server cannot be reached ({error}): check its address and that it runs.", 0) from None


def _check(answer: httpx.Response) -> None:
    """Raise ServerError for a refusal."""
    if not answer.is_error:
        return
    try:
        sentence = str(answer.json()["error"])
    except (ValueError, KeyError, TypeError):
        sentence = f"The server answered {answer.status_code}."
    waits = answer.headers.get("Retry-After", "")
    raise ServerError(sentence, answer.status_code, float(waits) if waits.isdigit() else 0.0)
