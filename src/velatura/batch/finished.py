"""Whether a plan is worked off already and nothing has changed since, which needs neither a model nor a worker."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from velatura.batch.place import file_state
from velatura.batch.plan import FOLDER, Plan
from velatura.batch.work import Job
from velatura.errors import TargetError


@dataclass(frozen=True)
class Finished:
    """A note beside a plan's results, once all are there: the states of the files that went in and came out.

    A file's state is its length and its times, so that nothing is read. It is kept where all those files are this
    machine's; elsewhere workers find out what is there. A note that does not fit means only that they do.
    """

    plan: Plan
    job: Job

    def inputs(self) -> str:
        """A hash of the states of all that makes the plan's pictures, "" where one cannot be told."""
        if not self.plan.place.is_local:
            return ""
        state_of, digest = self.job.factory.states(), hashlib.sha256()
        for window in range(len(self.plan.first_shares)):
            for row in self.plan.rows_of(window):
                state = state_of(row)
                if not state:
                    return ""
                digest.update(f"{state}\n".encode())
        return digest.hexdigest()

    def holds(self, inputs: str) -> bool:
        """Whether the results are those that were made of the ``inputs``, all of them."""
        kept = self.plan.place.read(self._note) if inputs else None
        return kept is not None and kept == self._text(inputs, self._results())

    def keep(self, inputs: str, failed: int) -> None:
        """Note that the results are made of the ``inputs``, which were looked at before the work; not where any row
        ``failed``, since it is to be tried again.
        """
        results = self._results() if inputs and not failed else ""
        if results:
            self.plan.place.write(self._note, self._text(inputs, results))

    @property
    def _note(self) -> str:
        return f"{FOLDER}/{self.plan.name}.json"

    def _text(self, inputs: str, results: str) -> bytes:
        return json.dumps({"inputs": inputs, "results": results}).encode()

    def _results(self) -> str:
        """A hash of the states of the table's files, and of the pictures that they name; "" where any is gone."""
        results, digest, folder = self.job.results, hashlib.sha256(), Path(self.plan.place.path(""))
        for window in range(len(self.plan.first_shares)):
            table = results.table_file(window)
            try:
                pictures = [] if results.holds_pictures else results.place.opened(table, _pictures) or []
            except TargetError:  # it is damaged, and written again by those who work
                return ""
            states = [file_state(folder / name) for name in (table, *pictures)]
            if not all(states):
                return ""
            digest.update("\n".join(states).encode())
        return digest.hexdigest()


def _pictures(file: Any) -> list[str]:
    return list(pq.read_table(file, columns=["picture"])["picture"].to_pylist())
