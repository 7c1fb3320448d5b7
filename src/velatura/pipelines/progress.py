"""A pipeline's progress bar and its ``callback_on_step_end``, as progress of a method's run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from torch import Tensor

from velatura.errors import SettingError, StoppedError
from velatura.progress import Silent

T = TypeVar("T")
TENSORS = ("latents",)  # what a callback can be given
Callback = Callable[[Any, int, int, dict[str, Tensor]], Mapping[str, Tensor] | None]


def check_callback(callback: Any, tensor_inputs: Sequence[str]) -> None:
    """Raise SettingError where a callback asks for tensors that there are none of."""
    # diffusers' own callbacks say themselves what they want.
    unknown = sorted(set(getattr(callback, "tensor_inputs", tensor_inputs)) - set(TENSORS))
    if unknown:
        raise SettingError(f"callback_on_step_end is given {', '.join(TENSORS)}, not {unknown[0]}: leave it out.")


class PipelineProgress(Silent):
    """Shows each loop in the pipeline's bar, and calls back after each denoising step.

    The callback gets (pipeline, index, timestep, {"latents": …}) and may return other latents; where it sets
    ``pipeline._interrupt`` the run is stopped, which raises StoppedError.
    """

    def __init__(self, pipeline: Any, callback: Callback | None) -> None:
        self._pipeline, self._callback = pipeline, callback

    def track(self, items: Sequence[T], what: str) -> Iterator[T]:
        """Yield ``items`` under the pipeline's bar."""
        bar = self._pipeline.progress_bar(items)
        bar.set_description(what)
        self._pipeline._num_timesteps = len(items)
        yield from bar

    def step_end(self, index: int, timestep: int, latents: Tensor) -> Tensor:
        """The callback's latents, or ``latents``."""
        if self._callback is None:
            return latents
        changed = self._callback(self._pipeline, index, timestep, {"latents": latents}) or {}
        if self._pipeline.interrupt:
            raise StoppedError(f"Stopped after step {index + 1}, as asked; there is no picture.")
        return changed.get("latents", latents)
