"""What a piece of work costs: evaluations of the denoising network, and seconds."""

from __future__ import annotations

import time
from collections.abc import Mapping

from velatura.models.backbone import Backbone


class Cost:
    """Counts from when it was made; ``resume`` adds what was spent before an interruption."""

    def __init__(self, backbone: Backbone) -> None:
        self._backbone, self._evaluations, self._started = backbone, backbone.evaluations, time.perf_counter()
        self._earlier = (0, 0.0)

    def resume(self, evaluations: int, seconds: float) -> None:
        """Count also what an interrupted part of the work had cost."""
        self._earlier = (evaluations, seconds)

    @property
    def evaluations(self) -> int:
        """Evaluations of the network so far, one for each picture in a batch."""
        return self._earlier[0] + self._backbone.evaluations - self._evaluations

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        return self._earlier[1] + time.perf_counter() - self._started

    def added_to(self, spent: Mapping[str, float]) -> dict[str, float]:
        """``unet_evaluations`` and ``seconds`` that were spent before, with these added."""
        return {
            "unet_evaluations": spent["unet_evaluations"] + self.evaluations,
            "seconds": spent["seconds"] + self.seconds,
        }
