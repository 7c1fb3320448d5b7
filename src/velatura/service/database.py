"""The database's tables, through SQLAlchemy: SQLite in the data folder, or what a URL names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import JSON, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

from velatura.errors import SettingError

Sessions = sessionmaker[Session]


class Table(DeclarativeBase):
    """Base of the tables."""


class JobRow(Table):
    """A job: what was asked, where it stands, what came of it. Times are seconds since 1970."""

    __tablename__ = "jobs"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(unique=True)
    key: Mapped[str | None] = mapped_column(unique=True)
    state: Mapped[str] = mapped_column(index=True)
    request: Mapped[dict[str, Any]] = mapped_column(JSON)
    title: Mapped[str]
    group: Mapped[str] = mapped_column(default="", index=True)
    batch_key: Mapped[str] = mapped_column(default="", index=True)
    attempts: Mapped[int] = mapped_column(default=0)
    reason: Mapped[str] = mapped_column(default="")
    created: Mapped[float]
    started: Mapped[float | None]
    finished: Mapped[float | None]
    outcome: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)


class PictureRow(Table):
    """An uploaded picture; its bytes are the file of its ``id``, their SHA-256, in the data folder."""

    __tablename__ = "pictures"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    width: Mapped[int]
    height: Mapped[int]
    created: Mapped[float]


class RemovedStyleRow(Table):
    """A style that was removed and can be brought back; its file is that of its ``id`` in the data folder."""

    __tablename__ = "removed_styles"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    removed: Mapped[float]


class RemovedJobRow(Table):
    """A job that was removed from the history and can be brought back by ``id``."""

    __tablename__ = "removed_jobs"

    id: Mapped[str] = mapped_column(primary_key=True)
    job: Mapped[str] = mapped_column(unique=True)
    removed: Mapped[float]


def open_database(url: str) -> Sessions:
    """Sessions of the database at ``url``, its tables made where they are missing. Raises SettingError."""
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite" and parsed.database:
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(parsed, pool_pre_ping=True)
        if parsed.get_backend_name() == "sqlite":
            event.listen(engine, "connect", _prepare_sqlite)
        Table.metadata.create_all(engine)
    except (SQLAlchemyError, ImportError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise SettingError(f"The database cannot be opened ({reason}): check its URL and that it runs.") from None
    return sessionmaker(engine, expire_on_commit=False)


def close_database(sessions: Sessions) -> None:
    """Close the connections."""
    engine = sessions.kw["bind"]
    if isinstance(engine, Engine):
        engine.dispose()


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")  # readers do not wait for the worker
    cursor.execute("PRAGMA busy_timeout=10000")
    cursor.close()
