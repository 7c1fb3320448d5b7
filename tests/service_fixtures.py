"""What the tests of the HTTP API share: a service over the tiny model, and a client of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from tests.service_client import HOST
from tests.tiny_service import tiny_service
from velatura.service.http import create_app
from velatura.service.service import Service


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return tiny_service(tmp_path / "data")


@pytest.fixture
def client(service: Service) -> Iterator[TestClient]:
    with TestClient(create_app(service), base_url=HOST) as opened:
        yield opened
