"""The values of the losses over a run, and whether one of the content's exploded."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from velatura.losses import CONTENT_LOSSES

MOST_POINTS = 60  # of a curve in the manifest, for which a JPEG has 64 KB
EXPLOSION = 10.0  # times its first value
# First values below these, which sound results stay above, count as these: a run can start at the content itself.
SMALLEST: Mapping[str, float] = {"mse": 0.01, "mse_rgb": 0.01, "vgg": 0.1, "vgg_shallow": 0.2, "zecon": 0.5}

log = logging.getLogger("velatura")


@dataclass(frozen=True)
class LossRecord:
    """The ``first``, the ``last`` and ``all`` values of a run's losses by name (of several regions, name.number)."""

    first: dict[str, float] = field(default_factory=dict)
    last: dict[str, float] = field(default_factory=dict)
    all: dict[str, list[float]] = field(default_factory=dict)

    def add(self, values: Mapping[str, float]) -> None:
        """Take the values of one step."""
        for name, value in values.items():
            self.all.setdefault(name, []).append(value)
        self.first.update({name: value for name, value in values.items() if name not in self.first})
        self.last.update(values)

    def curves(self) -> dict[str, list[float]]:
        """The values over the run to four digits, evenly thinned to at most ``MOST_POINTS`` and the last."""
        thinned = {
            name: values[: -1 : -(-len(values) // MOST_POINTS)] + values[-1:] for name, values in self.all.items()
        }
        return {name: [float(f"{value:.4g}") for value in values] for name, values in thinned.items()}

    def exploded(self) -> dict[str, list[float]]:
        """The first and last value of each content loss that grew tenfold, or is not finite any more."""
        content = {name: value for name, value in self.last.items() if name.partition(".")[0] in CONTENT_LOSSES}
        return {
            name: [self.first[name], value]
            for name, value in content.items()
            if not (math.isfinite(value) and value <= EXPLOSION * self._start(name))
        }

    def _start(self, name: str) -> float:
        return max(self.first[name], SMALLEST.get(name.partition(".")[0], 0.0))

    def warn(self, picture: str) -> None:
        """Say so where content losses exploded."""
        grown = [f"{name} grew from {first:.3g} to {last:.3g}" for name, (first, last) in self.exploded().items()]
        if grown:
            log.warning(
                "%s: the content loss %s, so that the picture is probably destroyed: set gradient_scale=rms, or lower "
                "guidance_rms or the weights.",
                picture,
                ", ".join(grown),
            )
