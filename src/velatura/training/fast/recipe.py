"""The recipe of the fast adapter: batches, sizes, levels and rates."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from velatura.training.fast.losses import Weights


class Rows(NamedTuple):
    """How many rows of each kind a step has, and their side in pixels."""

    guided: int
    followed: int
    paired: int
    side: int


@dataclass(frozen=True)
class FastRecipe:
    """Settings of the fast adapter's training, which lasts ``minutes``.

    A step has three kinds of rows. ``guided`` ones are photos to be painted in random styles, whose losses look at the
    decoded x0 of one of the calls of a roll-out (``call_shares``). ``followed`` ones are the same, but their x0 is
    drawn to the latents of what Magenta's network paints, ``followed_colours`` of the way to the style's palette: that
    costs a third. ``paired`` ones are real paintings with plain contents, under the v loss.
    All are crops of ``side`` px.
    """

    minutes: float = 100.0
    guided: int = 2
    followed: int = 10
    paired: int = 1
    side: int = 128
    paintings: int = 2000  # drawn of those given: a painting's features are computed at its first use
    rank: int = 48
    learning_rate: float = 1e-3
    warmup_steps: int = 50
    decay_share: float = 0.3  # of the minutes, at the end, over which the learning rate falls
    average_decay: float = 0.997
    call_shares: tuple[float, ...] = (0.4, 0.2, 0.15, 0.25)
    start: tuple[int, int] = (700, 860)  # timesteps from which roll-outs start
    follow_weight: float = 3.0
    followed_colours: float = 0.5
    v_weight: float = 0.3
    identity_share: float = 0.15  # of the paired rows: a photo with its own word, which is to stay as it is
    dropped_share: float = 0.1  # of the paired rows: without a content
    weights: Weights = field(default_factory=Weights)
    seed: int = 0
    save_minutes: float = 3.0
    log_steps: int = 20

    @property
    def rows(self) -> Rows:
        """The rows of a step."""
        return Rows(self.guided, self.followed, self.paired, self.side)

    def learning_rate_at(self, step: int, progress: float) -> float:
        """Warm-up by steps, plateau, linear fall by time to a fiftieth."""
        rising = min(1.0, (step + 1) / self.warmup_steps)
        return self.learning_rate * rising * min(1.0, max(0.02, (1 - progress) / self.decay_share))
