"""The engine of a cluster: Ray Data hands shares to actors that each hold a model."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from importlib.util import find_spec
from typing import Annotated, Any

import pyarrow as pa

from velatura.batch.machine import behave
from velatura.batch.outcome import Died, Outcome
from velatura.batch.plan import Plan
from velatura.batch.work import Job, Worker
from velatura.errors import SettingError, VelaturaError
from velatura.methods.validation import Range, check_settings

MOST_BLOCKS = 2000  # Ray keeps an account of each
ROUNDS = 2  # shares that were lost beside one that kills its actors get another chance
FATAL = "fatal"
# Settings of a cluster that is started here. Seconds until Ray takes a process that it starts for lost: on a machine
# that is shared a minute is not enough. The nice level of its workers, usually 15.
SLOW_START, NICE = ("RAY_worker_register_timeout_seconds", "600"), "RAY_worker_niceness"


@dataclass(frozen=True)
class RayEngine:
    """Actors on a Ray cluster at ``address`` ("" starts one on this machine, or takes the one that the environment
    names): ``workers`` of them (0: as many as it has room for, at most 1024), each with ``threads`` CPUs and ``gpus``,
    which may be a fraction.

    A share whose actor died is tried again ``retries`` times. ``nice`` is the actors' level on a cluster that is
    started here; another's nodes have their own. ``say`` gets sentences for the user.
    """

    address: str = ""
    workers: Annotated[int, Range(0, 1024)] = 0
    threads: Annotated[int, Range(1, 1024)] = 1
    gpus: Annotated[float, Range(0, 64)] = 0.0
    retries: Annotated[int, Range(0, 100)] = 2
    nice: Annotated[int, Range(0, 19)] = 0
    say: Callable[[str], None] = field(default=lambda sentence: None)

    name = "ray"

    def __post_init__(self) -> None:
        check_settings(self)
        if find_spec("ray") is None:
            raise SettingError("The engine ray needs Ray: install velatura[ray].")

    @property
    def settings(self) -> Mapping[str, Any]:
        """How it works, as a report tells it."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name != "say"}

    def run(self, job: Job, plan: Plan) -> Generator[Outcome | Died, None, None]:
        """The outcomes of the plan's rows, in no order; rows whose actors died too often have none. An actor's death is
        known when it was started again and has worked.

        Raises VelaturaError where no actor can work, SettingError where there is no cluster.
        """
        with self._cluster() as ray:
            context = ray.data.DataContext.get_current()
            context.enable_progress_bars = False
            context.max_errored_blocks = -1  # a share that cannot be done does not end the others
            heard: set[int] = set()
            restarted: set[str] = set()  # told with each share, since what is told may be lost
            for _ in range(ROUNDS):
                left = [share for share in range(plan.shares) if share not in heard]
                for record in self._told(ray, job, plan, left) if left else ():
                    heard.add(int(record["id"]))
                    if record["restarted"] and record["restarted"] not in restarted:
                        restarted.add(record["restarted"])
                        self.say("A worker died and was started again; its rows are made again.")
                        yield Died()
                    yield from _outcomes(record["told"])

    def _told(self, ray: Any, job: Job, plan: Plan, shares: Sequence[int]) -> Iterator[dict[str, Any]]:
        """What actors tell of shares; of one whose actor died too often there is nothing."""
        pool = ray.data.ActorPoolStrategy(
            min_size=self.workers or 1,
            max_size=self._most(ray),
            max_tasks_in_flight_per_actor=1,  # a share that kills its actor takes no other with it
        )
        # Blocks that lie there already: tasks that read them would want CPUs, which the actors may all hold.
        told = ray.data.from_arrow(_blocks(shares)).map_batches(
            ShareActor,
            fn_constructor_args=(job, plan, self.threads),
            batch_size=1,
            compute=pool,
            num_cpus=self.threads,
            num_gpus=self.gpus or None,
            max_task_retries=self.retries,  # the actor itself is restarted without end
        )
        yield from told.iter_rows()

    def _most(self, ray: Any) -> int:
        """How many actors there may be: as many as were asked for, or as the cluster has room for."""
        if self.workers:
            return self.workers
        has = ray.cluster_resources()
        room = has.get("CPU", 1) // self.threads
        return int(max(1, min(room, has.get("GPU", 0) // self.gpus if self.gpus else room, 1024)))

    @contextmanager
    def _cluster(self) -> Iterator[Any]:
        """Ray, connected, or started for the time of the block."""
        import ray
        import ray.data

        if ray.is_initialized():  # the caller's own connection
            yield ray
            return
        os.environ.setdefault(*SLOW_START)
        os.environ.setdefault(NICE, str(self.nice))
        try:
            ray.init(address=self.address or None, include_dashboard=False, log_to_driver=False, logging_level="error")
        except (ConnectionError, ValueError) as error:
            raise SettingError(f"There is no Ray cluster at {self.address} ({error}): check the address.") from None
        try:
            yield ray
        finally:
            ray.shutdown()


class ShareActor:
    """A worker as Ray Data calls it: numbers of shares in, the outcomes of their rows out, as JSON."""

    def __init__(self, job: Job, plan: Plan, threads: int) -> None:
        behave(threads, nice=0)
        self._plan, self._broken = plan, ""
        try:
            self._worker = Worker(job)
        except VelaturaError as error:  # told with a share, since Ray would try to make the actor again and again
            self._broken = str(error)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        told = [self._told(int(index)) for index in batch["id"]]
        return {"id": batch["id"], "told": told, "restarted": [self._restarted()] * len(told)}

    def _restarted(self) -> str:
        """A name of this process where it is one that was started again, else ""; asked late, since the cluster may not
        know yet while it starts.
        """
        from ray import get_runtime_context

        context = get_runtime_context()
        return f"{context.get_actor_id()} {os.getpid()}" if context.was_current_actor_reconstructed else ""

    def _told(self, index: int) -> str:
        if self._broken:
            return json.dumps({FATAL: self._broken})
        try:
            events = self._worker.work(self._plan.share(index))
            return json.dumps([asdict(event) for event in events if isinstance(event, Outcome)])
        except VelaturaError as error:
            return json.dumps({FATAL: str(error)})


def _blocks(shares: Sequence[int]) -> list[Any]:
    """The numbers of shares in tables, each of which an actor takes at once."""
    size = -(-len(shares) // MOST_BLOCKS)
    return [pa.table({"id": shares[first : first + size]}) for first in range(0, len(shares), size)]


def _outcomes(told: str) -> list[Outcome]:
    found = json.loads(told)
    if isinstance(found, dict):
        raise VelaturaError(found[FATAL])
    return [Outcome(**entry) for entry in found]
