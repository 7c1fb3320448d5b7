"""A pipeline's progress bar and its ``callback_on_step_end``, as progress of a method's run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

from torch import Tensor

from velatura.errors import SettingError, StoppedError
from velatura.progress import Silent

T = TypeVar("T")
TENSORS = ("latents",)  # what a callback can be given
Callback = Callable[[Any, int, int, dict[str, Tensor]], Mapping[str, Tensor] | None]


def check_callback(callback: Any, tensor_inputs: Sequence[str]) -> None:
    """Raise SettingError where a callback is none, or asks for tensors that there are none of."""
    if callback is not None and not callable(callback):
        raise SettingError(f"callback_on_step_end must be a function, not {callback!r}.")
    # diffusers' own callbacks say themselves what they want.
    own = getattr(callback, "tensor_inputs", None)
    unknown = sorted(set(tensor_inputs if own is None else own) - set(TENSORS))
    if unknown and own is not None:
        raise SettingError(
            f"{type(callback).__name__} asks for {unknown[0]}, and a callback is given {', '.join(TENSORS)} here: it "
            "cannot be used."
        )
    if unknown:
        raise SettingError(f"callback_on_step_end is given {', '.join(TENSORS)}, not {unknown[0]}: leave it out.")


class PipelineProgress(Silent):
    """Shows each loop in the pipeline's bar, and calls back after each denoising step, with ``shown`` open.

    The callback gets (pipeline, index, timestep, {"latents": …}) and may return other latents; where it sets
    ``pipeline._interrupt`` the run is stopped, which raises StoppedError.
    """

    def __init__(
        self,
        pipeline: Any,
        callback: Callback | None,
        shown: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._pipeline, self._callback, self._shown = pipeline, callback, shown

    def track(self, items: Sequence[T], what: str) -> Iterator[T]:
        """Yield ``items`` under the pipeline's bar."""
        bar = self._pipeline.progress_bar(items)
        bar.set_description(what)
        self._pipeline._num_timesteps = len(items)
        yield from bar

    def step_end(self, index: int, timestep: int, latents: Tensor) -> Tensor:
        """The callback's latents, or ``latents``. Raises SettingError for a result that is neither."""
        if self._callback is None:
            return latents
        with self._shown():
            result = self._callback(self._pipeline, index, timestep, {"latents": latents})
        if self._pipeline.interrupt:
            raise StoppedError(f"Stopped after step {index + 1}, as asked; there is no picture.")
        return _returned(result, latents)


def _returned(result: Any, latents: Tensor) -> Tensor:
    """The latents in what a callback returned, or its own ``latents``, which it may have changed."""
    if result is not None and not isinstance(result, Mapping):
        raise SettingError(
            f"callback_on_step_end must return a dictionary with latents, or None, not a {type(result).__name__}."
        )
    changed = (result or {}).get("latents", latents)
    if not isinstance(changed, Tensor) or changed.shape != latents.shape:
        shape = f"of shape {tuple(changed.shape)}" if isinstance(changed, Tensor) else f"that are {changed!r}"
        raise SettingError(
            f"callback_on_step_end returned latents {shape}: they must be a tensor of shape {tuple(latents.shape)}."
        )
    if not bool(changed.isfinite().all()):
        raise SettingError("The latents are not finite after callback_on_step_end: return finite ones.")
    return changed.to(latents)
