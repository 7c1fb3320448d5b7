"""What a machine has for workers: cores, memory and manners."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

# Read by the libraries under numpy and torch when they are loaded.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
STATUS = Path("/proc/self/status")
CONTAINER = Path("/sys/fs/cgroup")  # a container's limits, where Linux shows them


def usable_cores() -> int:
    """The cores that this program may use, which in a container can be fewer than the machine has."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = re.fullmatch(r"(\d+) (\d+)\s*", _text(CONTAINER / "cpu.max"))
    return max(1, min(cores, int(limit[1]) // int(limit[2]))) if limit else cores


def usable_memory() -> int:
    """The bytes of memory that are free, within a container's limit."""
    free = int(psutil.virtual_memory().available)
    limit, used = (_text(CONTAINER / name).strip() for name in ("memory.max", "memory.current"))
    return min(free, max(0, int(limit) - int(used))) if limit.isdigit() and used.isdigit() else free


def peak_memory() -> int:
    """The most bytes that this process ever held; where the system does not tell, those that it holds now."""
    found = re.search(r"VmHWM:\s+(\d+) kB", _text(STATUS))
    return int(found[1]) * 1024 if found else int(psutil.Process().memory_info().rss)


def workers_that_fit(memory: int, each: int, cores: int, threads: int) -> int:
    """How many workers of ``each`` so many bytes and ``threads`` the free ``memory`` and the cores are enough for.

    >>> workers_that_fit(memory=8 << 30, each=3 << 30, cores=8, threads=2)
    2
    """
    return max(1, min(memory // max(1, each), cores // threads))


@contextmanager
def threads_of_children(threads: int) -> Iterator[None]:
    """While open, processes that are started get so many threads for their arithmetic."""
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def behave(threads: int, nice: int) -> None:
    """Give this process so many threads and, where the system has such, a nice level."""
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    torch = sys.modules.get("torch")  # loaded before anybody could say how many threads it shall have
    if torch is not None:
        torch.set_num_threads(threads)
    if hasattr(os, "nice"):
        os.nice(nice)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
