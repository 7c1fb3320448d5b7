"""velatura serve: the API on a port, until it is stopped."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable

import uvicorn
from fastapi import FastAPI

from velatura.errors import SettingError
from velatura.service.http import create_app
from velatura.service.service import Service
from velatura.service.settings import ServiceSettings

GRACE = 5  # seconds that open requests have when the server ends


def serve(settings: ServiceSettings, say: Callable[[str], None], app: FastAPI | None = None) -> None:
    """Serve the API, or an ``app`` with it, until SIGINT or SIGTERM.

    Raises SettingError for a taken port, and for a data folder that another server uses, ModelError for a model that
    cannot be loaded.
    """
    listening = listen(settings)
    served = app or create_app(Service(settings))
    # Now, so that its error is a sentence and no trace, and no job's.
    served.state.service.load_model()
    served.state.service.start()
    say(f"Velatura is at {address(settings, listening)}")
    logging.getLogger("velatura.service").setLevel(logging.INFO)
    # uvicorn's own log of requests holds paths and queries; ours does not.
    config = uvicorn.Config(
        served, access_log=False, log_level="warning", proxy_headers=False, server_header=False,
        timeout_graceful_shutdown=GRACE,
    )  # fmt: skip
    uvicorn.Server(config).run(sockets=[listening])


def listen(settings: ServiceSettings) -> socket.socket:
    """A socket on the settings' address. Raises SettingError where it is taken."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    found = socket.socket(family)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((settings.host, settings.port))
    except (OSError, OverflowError) as error:
        found.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise SettingError(
            f"The server cannot listen on {settings.host}:{settings.port} ({reason}): choose another --port."
        ) from None
    return found


def address(settings: ServiceSettings, listening: socket.socket) -> str:
    """The URL to open; where a token is asked for it says so, without the token, which logs must not hold."""
    port = listening.getsockname()[1]
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "::1": "[::1]"}.get(settings.host, settings.host)
    return f"http://{host}:{port}/" + ("?token=YOUR_TOKEN" if settings.token else "")
