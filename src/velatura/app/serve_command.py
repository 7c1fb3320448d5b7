"""velatura serve: the HTTP API, without the page."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from velatura.app.command import with_options
from velatura.app.options import Device, Dtype, Model

if TYPE_CHECKING:
    from types import ModuleType

INSTALL = "pip install 'velatura[ui]'"


@dataclass(frozen=True)
class ServeOptions:
    """Options of ``velatura serve`` and ``velatura ui``."""

    host: Annotated[str, typer.Option(help="The address to listen on; others than this machine need --token.")] = (
        "127.0.0.1"
    )
    port: Annotated[int, typer.Option(help="The port to listen on; 0 is any free one.")] = 7860
    token: Annotated[
        str,
        typer.Option(help="What clients must present.", envvar="VELATURA_TOKEN", show_default="none", metavar="TOKEN"),
    ] = ""
    allow_host: Annotated[
        list[str] | None,
        typer.Option(help="A host name under which the server is reached; repeatable.", show_default=False),
    ] = None
    data: Annotated[
        Path | None,
        typer.Option(help="The folder of pictures, results and database.", show_default="service in VELATURA_HOME"),
    ] = None
    database: Annotated[
        str,
        typer.Option(
            help="A SQLAlchemy URL, as postgresql+psycopg://…; it may hold a password.",
            envvar="VELATURA_DATABASE",
            show_default="SQLite in --data",
        ),
    ] = ""
    queue: Annotated[int, typer.Option(help="How many jobs may wait.")] = 200
    upload: Annotated[int, typer.Option(help="The largest request, in MiB.")] = 64
    pixels: Annotated[int, typer.Option(help="The most pixels of a picture, in millions.")] = 50
    rate: Annotated[int, typer.Option(help="How many changing requests a client may send in a minute.")] = 300
    model: Model = "house"
    device: Device = "auto"
    dtype: Dtype = "auto"


@with_options(ServeOptions)
def serve(options: ServeOptions) -> None:
    """Serve the HTTP API: jobs, history, styles, masks, metrics; see docs/service.md."""
    serving, settings = service_module("serving"), service_module("settings")
    serving.serve(settings.ServiceSettings.of(options), typer.echo)


def service_module(name: str) -> ModuleType:
    """A module of the room above, by name. Raises SettingError where what it needs is not installed."""
    from velatura.errors import SettingError

    try:
        return import_module(f"velatura.service.{name}")
    except ModuleNotFoundError as error:
        raise SettingError(f"The server needs packages that are not installed ({error.name}): {INSTALL}.") from None
