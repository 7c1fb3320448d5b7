"""The recipe with which a house model is trained on: sizes, rates, and what is drawn how often."""

from __future__ import annotations

from dataclasses import dataclass

from velatura.training.denoiser import DenoiserRecipe
from velatura.training.timed import TimedRecipe


@dataclass(frozen=True)
class FurtherRecipe(TimedRecipe):
    """Settings of a training that goes on for ``minutes`` (decision 20).

    The first part of the time is for crops of 128 px, ``batch`` at a time, the last ``large_share`` of it for crops of
    256 px, a quarter as many. ``low_share`` of the timesteps are drawn below ``low_below``, where the methods work.
    ``shown_share`` of the pictures with a word are shown as another content where there is much noise: a painted-over
    photo as the photo beneath, ``destylised_share`` of the paintings with little of their strokes, all others in
    another picture's colours. ``other_crop_share`` of the paintings' words are of a crop of the painting.
    The held-out loss is measured every ``check_minutes``; training ends early when it has not fallen more than
    ``patience`` times in a row.
    """

    batch: int = 48
    large_share: float = 0.4
    learning_rate: float = 1e-4
    warmup_steps: int = 100
    low_share: float = 0.8
    low_below: int = 700
    shown_share: float = 0.5
    destylised_share: float = 0.68
    other_crop_share: float = 0.6
    check_minutes: float = 15.0
    patience: int = 4
    compiled: bool = False

    @property
    def denoiser(self) -> DenoiserRecipe:
        """What the optimisation and the captions take of this recipe."""
        return DenoiserRecipe(
            learning_rate=self.learning_rate, average_decay=self.average_decay, recolour_share=self.shown_share
        )

    def rows_at(self, progress: float) -> tuple[int, int]:
        """Pictures in a batch and their side in pixels, at a share (0..1) of the time."""
        return (max(1, self.batch // 4), 256) if progress >= 1 - self.large_share else (self.batch, 128)
