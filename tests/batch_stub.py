"""A runner without a model, for tests of batches: it makes a result of a row's words, at once or as slowly as asked."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from velatura.batch.place import file_state
from velatura.batch.row import Row
from velatura.batch.work import Made, Prepared
from velatura.errors import PictureError


@dataclass(frozen=True)
class Stub:
    """Makes and is the runner. ``log`` is a file that gets a line for each picture that is made; where ``killed`` does
    not exist yet, the worker that makes a content named ``deadly`` creates it and kills itself; ``always`` without end.
    """

    log: str = ""
    seconds: float = 0.0
    together: int = 2
    deadly: str = ""
    killed: str = ""
    ending: str = ".txt"

    def __call__(self) -> Stub:
        return self

    def states(self) -> Callable[[Row], str]:
        return lambda row: file_state(row.content)

    def prepare(self, row: Row, content: bytes) -> Prepared:
        if content == b"bad":
            raise PictureError(f"{row.content} is no picture.")
        text = f"{row.style}{row.method}{row.settings}{row.seed}"
        request = hashlib.sha256(content + text.encode()).hexdigest()
        return Prepared(row, content, request, (text, len(content)))

    def most_together(self, prepared: Prepared) -> int:
        return self.together

    def make(self, together: Sequence[Prepared]) -> list[Made]:
        made = []
        for each in together:
            self._die_at(each)
            time.sleep(self.seconds)
            # Who shares a pass decides about a batched network's last bits.
            company = hashlib.sha256(b"".join(other.content for other in together)).digest()
            made.append(Made(each.request.encode() + company * 40, 0.01, 1))
            if self.log:
                with Path(self.log).open("a") as file:
                    file.write(f"{os.getpid()} {each.row.number}\n")
        return made

    def sentence(self, error: Exception) -> str:
        return str(error)

    def _die_at(self, each: Prepared) -> None:
        if self.deadly and each.content.startswith(self.deadly.encode()):
            if not self.killed:
                os.kill(os.getpid(), signal.SIGKILL)
            elif not Path(self.killed).exists():
                Path(self.killed).touch()
                os.kill(os.getpid(), signal.SIGKILL)
