"""Moto's S3 server, which knows again what it was told before it was killed: python -m tests.s3_server PORT."""

from __future__ import annotations

import base64
import json
import os
import sys
from pathlib import Path
from urllib.parse import urlsplit

from moto.moto_api import recorder
from moto.server import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import run_simple
from werkzeug.test import Client

RECORDED = "MOTO_RECORDER_FILEPATH"


def remember(application: DomainDispatcherApplication, recorded: Path) -> None:
    """Tell a new server everything that its predecessors were told; a line that was cut off was never answered."""
    client = Client(application)
    for line in recorded.read_text().splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        body = base64.b64decode(entry["body"]) if entry["body_encoded"] else entry["body"]
        url = urlsplit(entry["url"])
        client.open(
            url.path,
            query_string=url.query,
            base_url=f"{url.scheme}://{url.netloc}",
            method=entry["method"],
            headers=entry["headers"],
            data=body,
        )


def main() -> None:
    """Remember first, then listen: who asks in between finds nobody, as with a real server that starts again."""
    application = DomainDispatcherApplication(create_backend_app)
    recorder.stop_recording()
    recorded = Path(os.environ[RECORDED])
    if recorded.exists():
        remember(application, recorded)
    recorder.start_recording()
    run_simple("127.0.0.1", int(sys.argv[1]), application, threaded=True, request_handler=MotoRequestHandler)


if __name__ == "__main__":
    main()
