"""A folder, or a part of an object store, by any URL that fsspec knows; files in it are whole or not there."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISREG
from typing import Any, TypeVar

import fsspec

from velatura.errors import PictureError, SettingError, TargetError, first_line
from velatura.whole_file import whole_file

T = TypeVar("T")
# What trying again does not change; everything else may be the network or the store for a while.
LASTING = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)


@dataclass(frozen=True)
class Patience:
    """How often something on an object store is tried, and the seconds before the second try, which double."""

    tries: int = 6
    pause: float = 0.5

    def call(self, action: Callable[[], T]) -> T:
        """What ``action`` returns; it is called again after errors that may pass, and the last one is raised."""
        for number in range(self.tries - 1):
            try:
                return action()
            except LASTING:
                raise
            except Exception:  # each store's client has errors of its own for a broken connection
                time.sleep(self.pause * 2**number)
        return action()


@dataclass(frozen=True)
class Place:
    """Files under a ``url``: a local folder's path, s3://bucket/prefix, memory://…"""

    url: str
    patience: Patience = field(default_factory=Patience)

    @property
    def is_local(self) -> bool:
        """Whether it is a folder of this machine's file systems."""
        return "file" in _protocols(self._target()[0])

    def read(self, name: str) -> bytes | None:
        """The bytes of a file, None where there is none. Raises TargetError where that cannot be found out."""
        system, root = self._target()
        try:
            return bytes(self._tried(lambda: system.cat_file(f"{root}/{name}")))
        except FileNotFoundError:
            return None
        except Exception as error:
            raise TargetError(f"{self.url}/{name} cannot be read ({reason(error)}): try again.") from None

    def opened(self, name: str, use: Callable[[Any], T]) -> T | None:
        """What ``use`` makes of an open file, of which it may read parts; None without one. Raises TargetError."""
        system, root = self._target()

        def attempt() -> T:
            with system.open(f"{root}/{name}", "rb") as file:
                return use(file)

        try:
            return self._tried(attempt)
        except FileNotFoundError:
            return None
        except Exception as error:
            raise TargetError(f"{self.url}/{name} cannot be read ({reason(error)}): try again.") from None

    def write(self, name: str, data: bytes) -> None:
        """Put ``data`` into a file in place of what is there. Raises TargetError."""
        system, root = self._target()
        try:
            if self.is_local:
                with whole_file(Path(root) / name) as unfinished:
                    unfinished.write_bytes(data)
            else:  # an object appears when all of it has arrived
                self._tried(lambda: system.pipe_file(f"{root}/{name}", data))
        except Exception as error:
            raise TargetError(f"{self.url}/{name} cannot be written ({reason(error)}): name another place.") from None

    def delete(self, name: str) -> None:
        """Delete a file if it is there; one that cannot be deleted stays."""
        system, root = self._target()
        try:
            self._tried(lambda: system.rm_file(f"{root}/{name}"))
        except Exception:  # only litter stays
            return

    def names(self, folder: str) -> list[str]:
        """The names of the files in one of its folders, sorted; none where there is no such folder."""
        system, root = self._target()
        try:
            found = self._tried(lambda: system.ls(f"{root}/{folder}" if folder else root, detail=False))
        except FileNotFoundError:
            return []
        except Exception as error:
            raise TargetError(f"{self.url}/{folder} cannot be listed ({reason(error)}): try again.") from None
        return sorted(str(path).rpartition("/")[2] for path in found)

    def path(self, name: str) -> str:
        """A file's path in the place's file system, which for a local folder is this machine's."""
        return f"{self._target()[1]}/{name}"

    def _target(self) -> tuple[Any, str]:
        return file_system(self.url)

    def _tried(self, action: Callable[[], T]) -> T:
        return action() if self.is_local else self.patience.call(action)


def file_system(url: str) -> tuple[Any, str]:
    """The file system of a URL, which remembers no listings, and the path in it. Raises SettingError."""
    try:
        system, root = fsspec.core.url_to_fs(url, use_listings_cache=False)
    except (ImportError, ValueError) as error:
        raise SettingError(f"{url} cannot be used ({reason(error)}): install what its protocol needs.") from None
    return system, str(root).rstrip("/")


def absolute(text: str) -> str:
    """A local path made absolute, so that it means the same to every worker; a URL as it is."""
    return text if "://" in text else str(Path(text).expanduser().absolute())


def file_state(path: str | Path) -> str:
    """What changes with a file of this machine: when it was written, and its length; "" where there is none."""
    try:
        found = Path(path).stat()
    except (OSError, ValueError):
        return ""
    return f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns} {found.st_ino}" if S_ISREG(found.st_mode) else ""


def read_input(url: str, most_bytes: int, patience: Patience) -> bytes:
    """The bytes of a picture, or a style. Raises PictureError where there is none, or it is larger."""
    system, path = file_system(url)
    tried = patience if "file" not in _protocols(system) else Patience(tries=1)
    try:
        data = bytes(tried.call(lambda: system.cat_file(path, end=most_bytes + 1)))
    except FileNotFoundError:
        raise PictureError(f"There is no file {url}: check the name.") from None
    except Exception as error:
        raise PictureError(f"{url} cannot be read ({reason(error)}): check its name and permissions.") from None
    if len(data) > most_bytes:
        raise PictureError(f"{url} is larger than {most_bytes // 2**20} MiB: scale it down first.")
    if not data:
        raise PictureError(f"{url} is empty (0 bytes): save or download it again.")
    return data


def _protocols(system: Any) -> tuple[str, ...]:
    return (system.protocol,) if isinstance(system.protocol, str) else tuple(system.protocol)


def reason(error: Exception) -> str:
    """The first line of what an error says, or its name."""
    return str(getattr(error, "strerror", None) or first_line(error))
