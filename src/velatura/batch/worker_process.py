"""The program of one worker process: shares come in through a pipe, what becomes of their rows goes out."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from velatura.batch.machine import behave, peak_memory
from velatura.batch.outcome import Broken, Ready, ShareDone, Started
from velatura.batch.row import Share
from velatura.batch.work import Job, Worker
from velatura.errors import VelaturaError

WAIT = 0.5  # seconds between two looks at whether to stop


@dataclass(eq=False)
class Stop:
    """Whether this process was asked to end: by SIGTERM, or by its parent's death."""

    asked: bool = False
    parent: int = field(default_factory=os.getppid)

    def listen(self) -> None:
        """Be asked by SIGTERM from now on. SIGINT goes to all of a terminal's programs; the parent answers it."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, self._ask)

    def _ask(self, *_: Any) -> None:
        self.asked = True

    def __bool__(self) -> bool:
        return self.asked or os.getppid() != self.parent


def serve(pipe: Connection, job: Job, threads: int, nice: int) -> None:
    """Work on the shares that arrive until the pipe is closed or somebody asks to stop.

    The pass in work is finished first, so that nothing of it is lost.
    """
    stop = Stop()
    stop.listen()
    behave(threads, nice)
    try:
        _serve(pipe, Worker(job), stop)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the parent has gone
    except VelaturaError as error:  # no worker could do better
        pipe.send(Broken(str(error)))
    except Exception as error:
        pipe.send(Broken(f"A worker cannot go on ({type(error).__name__}: {error})."))


def _serve(pipe: Connection, worker: Worker, stop: Stop) -> None:
    pipe.send(Ready())
    while not stop:
        if not pipe.poll(WAIT):
            continue
        share: Share = pipe.recv()
        for event in worker.work(share):
            if stop and isinstance(event, Started):
                return
            pipe.send(event)
        pipe.send(ShareDone(peak_memory()))
