"""The recipe of the fast adapter: sizes, levels, rates and weights."""

from __future__ import annotations

from dataclasses import dataclass

from velatura.training.timed import TimedRecipe


@dataclass(frozen=True)
class FastRecipe(TimedRecipe):
    """Settings of the fast adapter's training, which lasts ``minutes``.

    A step has ``rows`` crops of ``side`` px of kept pairs. A row is noised from the content at a level of
    ``first_call`` (``first_share`` of them), or from the student's own estimate at the level ``start`` at one of
    ``later_calls``, as it is at use. Its x0 is drawn to the latents of what the teacher painted, place by place and,
    weighed by ``texture_weight``, as a cloud of small patches, which keeps strokes from blurring.
    """

    rows: int = 24
    side: int = 128
    rank: int = 48
    saved_rank: int = 41  # of the adapter that is written: what 11 MB hold
    learning_rate: float = 1e-3
    warmup_steps: int = 30
    decay_share: float = 0.3  # of the minutes, at the end, over which the learning rate falls
    average_decay: float = 0.995
    first_share: float = 0.4
    first_call: tuple[int, int] = (700, 860)  # timesteps
    later_calls: tuple[int, int] = (100, 699)
    start: int = 800
    texture_weight: float = 1.0
    log_steps: int = 20
    check_steps: int = 100
