"""A server over the tiny model: in this process, or, run as a program, in its own."""

from __future__ import annotations

import io
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from tests.conftest import smooth_image
from tests.tiny_house import tiny_house
from velatura import Studio
from velatura.service.http import create_app
from velatura.service.service import Service
from velatura.service.serving import listen
from velatura.service.settings import ServiceSettings

QUICK: dict[str, Any] = {"steps": 4, "strength": 0.5, "size": 64, "weights": {"mse": 0.3, "palette": 1.0}}
FOLLOWED: dict[str, Any] = {"steps": 100}  # long enough to be watched from its first preview on


def tiny_service(data: Path, **settings: Any) -> Service:
    """A service over the tiny model that is not started yet."""
    return Service(ServiceSettings(data=data, **settings), tiny_studio(data))


def tiny_studio(data: Path) -> Studio:
    """A Studio over the tiny model, with a library beside a data folder."""
    return Studio(tiny_house().pipeline, library_folder=data.parent / "styles")


def png(seed: int, height: int = 64, width: int = 64) -> bytes:
    """A smooth picture's file."""
    buffer = io.BytesIO()
    smooth_image(height, width, seed).save(buffer, "PNG")
    return buffer.getvalue()


def asked(content: str, style: str, **parts: Any) -> dict[str, Any]:
    """A request that is done quickly; ``style`` is an uploaded picture."""
    settings = {**QUICK, **parts.pop("settings", {})}
    return {
        "kind": "stylize",
        "content": content,
        "styles": [{"style": f"picture:{style}"}],
        "settings": settings,
        **parts,
    }


def wait_for(url: str) -> None:
    """Return when the server at a URL answers."""
    for _ in range(600):
        try:
            if httpx.get(f"{url}healthz").status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    raise AssertionError("the server does not start")


@contextmanager
def served(service: Service) -> Iterator[str]:
    """A server in a thread of this process; its URL."""
    listening = listen(service.settings)
    server = uvicorn.Server(uvicorn.Config(create_app(service), log_level="error", timeout_graceful_shutdown=2))
    running = threading.Thread(target=lambda: server.run(sockets=[listening]), daemon=True)
    running.start()
    url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
    try:
        wait_for(url)
        yield url
    finally:
        server.should_exit = True
        running.join(20)


def main(data: str, port: str) -> None:
    """Serve on a port until killed."""
    from velatura.service.serving import serve

    settings = ServiceSettings(data=Path(data), port=int(port), rate=100_000)
    serve(settings, lambda line: print(line, flush=True), create_app(Service(settings, tiny_studio(Path(data)))))


if __name__ == "__main__":
    main(*sys.argv[1:])
