"""One call of a diffusion UNet, and the adapters that may join it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor


@dataclass(frozen=True, eq=False)
class UNetCall:
    """The arguments of one call: ``latents`` (B, C, h, w), ``timesteps`` (B,) and text ``states`` (B, L, W);
    ``arguments`` go to the UNet by name. ``tokens`` (B, 1, n, W) are a picture's, for attention processors that take
    them.
    """

    latents: Tensor
    timesteps: Tensor
    states: Tensor
    arguments: Mapping[str, Any]
    tokens: Tensor | None = None


class UNetAdapter(Protocol):
    """What changes a UNet's calls, and leaves the UNet itself bit for bit as it was."""

    def acting(self, unet: Any, call: UNetCall) -> AbstractContextManager[UNetCall]:
        """While open, ``unet`` is ready for the changed call that is yielded."""
        ...


def output_of(unet: Any, call: UNetCall, adapters: Sequence[UNetAdapter] = ()) -> Tensor:
    """The UNet's output (B, C, h, w) for a call that ``adapters`` join, in their order."""
    with ExitStack() as stack:
        for adapter in adapters:
            call = stack.enter_context(adapter.acting(unet, call))
        states = call.states if call.tokens is None else (call.states, [call.tokens])
        output: Tensor = unet(call.latents, call.timesteps, encoder_hidden_states=states, **call.arguments).sample
    return output
