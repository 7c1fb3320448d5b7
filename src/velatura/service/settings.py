"""What a server is started with: where it keeps things, where it listens, and what it refuses."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from velatura.app.home import home
from velatura.app.serve_command import ServeOptions
from velatura.errors import SettingError
from velatura.methods.validation import Range, check_settings
from velatura.models.loading.catalogue import HOUSE

MEBIBYTE = 2**20
SAME = ("database", "host", "port", "token", "model", "device", "dtype", "queue", "upload", "pixels", "rate")


@dataclass(frozen=True)
class ServiceSettings:
    """Settings of a server; every limit is one that a client meets.

    ``data`` is the folder of uploaded pictures, results and, unless ``database`` is a SQLAlchemy URL, the SQLite
    database. ``token`` is what clients must present; without one a server listens on loopback only. ``names`` are host
    names under which it is reached, beside "localhost" and its addresses. ``queue`` is how many jobs may wait,
    ``upload`` the largest request in MiB, ``pixels`` the most in a picture, in millions, ``rate`` how many changing
    requests a client may send in a minute, ``preview_every`` how many steps lie between two previews.
    """

    data: Path = field(default_factory=lambda: home() / "service")
    database: str = ""
    host: str = "127.0.0.1"
    port: Annotated[int, Range(0, 65535)] = 7860
    token: str = ""
    names: tuple[str, ...] = ()
    model: str = HOUSE
    device: str = "auto"
    dtype: str = "auto"
    queue: Annotated[int, Range(1, 100_000)] = 200
    upload: Annotated[int, Range(1, 512)] = 64
    pixels: Annotated[int, Range(1, 100)] = 50
    rate: Annotated[int, Range(1, 1_000_000)] = 300
    preview_every: Annotated[int, Range(1, 1000)] = 2

    def __post_init__(self) -> None:
        check_settings(self)
        if not is_loopback(self.host) and not self.token:
            raise SettingError(
                f"Listening on {self.host or 'every address'} without a token would let anyone in the network use this "
                "machine: give one with --token or VELATURA_TOKEN, or listen on 127.0.0.1."
            )

    @staticmethod
    def of(options: ServeOptions) -> ServiceSettings:
        """The settings that a command's options ask for. Raises SettingError."""
        asked: dict[str, Any] = {name: getattr(options, name) for name in SAME}
        if options.data is not None:
            asked["data"] = options.data
        return ServiceSettings(**asked, names=tuple(options.allow_host or ()))

    @property
    def database_url(self) -> str:
        """The SQLAlchemy URL of the database."""
        return self.database or f"sqlite:///{(self.data / 'velatura.sqlite').absolute()}"

    @property
    def upload_bytes(self) -> int:
        """The largest body of a request."""
        return self.upload * MEBIBYTE

    @property
    def max_pixels(self) -> int:
        """The most pixels of an uploaded picture."""
        return self.pixels * 1_000_000


def is_loopback(host: str) -> bool:
    """Whether a server that listens on ``host`` is reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
