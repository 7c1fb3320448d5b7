"""velatura ui: the page in a browser, with the HTTP API beside it."""

from __future__ import annotations

from importlib import import_module

import typer

from velatura.app.command import with_options
from velatura.app.serve_command import ServeOptions, service_module
from velatura.app.terminal import say


@with_options(ServeOptions)
def ui(options: ServeOptions) -> None:
    """Serve the page, to open in a browser, and the HTTP API beside it; see docs/page.md."""
    say("Starting …")
    serving, settings, service, http = map(service_module, ("serving", "settings", "service", "http"))
    chosen = settings.ServiceSettings.of(options)
    served = service.Service(chosen)
    app = import_module("velatura.page.serving").add_page(http.create_app(served), served)
    serving.serve(chosen, typer.echo, app)
