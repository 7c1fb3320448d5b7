"""Record or change what chosen modules of a network compute: the queries, keys, values, temperature and output of a
UNet's self-attentions (Hertz et al. 2023), and the features behind any other module (Tumanyan et al. 2023).

Nothing of the network is replaced: forward hooks stand behind modules that are chosen by name, and are gone when the
context closes, also after an exception.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

Recording = dict[str, Tensor]  # outputs by module name
Change = Callable[[Tensor], Tensor]


class AttentionLayer(Protocol):
    """An attention over a picture's tokens, by the names of the modules that compute its queries, keys and values."""

    @property
    def queries(self) -> str:
        """The module of the queries."""
        ...

    @property
    def keys(self) -> str:
        """The module of the keys."""
        ...

    @property
    def values(self) -> str:
        """The module of the values."""
        ...

    def image_part(self, module: str, output: Tensor) -> Tensor:
        """The picture's tokens in the ``output`` of one of these modules."""
        ...

    def changing_image(self, module: str, change: Change) -> Change:
        """The change of a module's output that is ``change`` on the picture's tokens and none on any others."""
        ...


@dataclass(frozen=True)
class SelfAttention:
    """A self-attention of a UNet, softmax(temperature q k^T / sqrt(d)) v, by the name of its module.

    ``queries``, ``keys``, ``values`` and ``outputs`` are the names of the modules that compute them, each (B, N, C)
    with the heads side by side in C. Keys and values may be replaced by more or fewer than N of them.
    """

    name: str

    @property
    def queries(self) -> str:
        """The query projection."""
        return f"{self.name}.to_q"

    @property
    def keys(self) -> str:
        """The key projection."""
        return f"{self.name}.to_k"

    @property
    def values(self) -> str:
        """The value projection."""
        return f"{self.name}.to_v"

    @property
    def outputs(self) -> str:
        """The output projection."""
        return f"{self.name}.to_out.0"

    def image_part(self, module: str, output: Tensor) -> Tensor:
        """The whole output: a self-attention has no other tokens."""
        return output

    def changing_image(self, module: str, change: Change) -> Change:
        """The change itself."""
        return change


def at_temperature(temperature: float, queries: Change | None = None) -> Change:
    """The change of queries that multiplies q k^T by ``temperature``, after ``queries`` has changed them."""
    return lambda own: temperature * (own if queries is None else queries(own))


def decoder_self_attentions(unet: Any) -> dict[int, tuple[SelfAttention, ...]]:
    """The self-attentions of a UNet's decoder by the index of their up block, from coarse to fine; blocks without any
    are left out.
    """
    levels: dict[int, tuple[SelfAttention, ...]] = {}
    for index, block in enumerate(unet.up_blocks):
        names = [
            name for name, module in block.named_modules() if hasattr(module, "to_q") and not module.is_cross_attention
        ]
        if names:
            levels[index] = tuple(SelfAttention(f"up_blocks.{index}.{name}") for name in names)
    return levels


@contextmanager
def recorded(network: Any, modules: Iterable[str]) -> Iterator[Recording]:
    """While open, keep the last outputs of ``modules``, detached, in the recording that is yielded."""
    recording: Recording = {}

    def keep(name: str, output: Tensor) -> None:
        recording[name] = output.detach()

    with _hooked(network, modules, keep):
        yield recording


@contextmanager
def changed(network: Any, changes: Mapping[str, Change]) -> Iterator[None]:
    """While open, the output of each module named in ``changes`` is what its function makes of it."""
    with _hooked(network, changes, lambda name, output: changes[name](output)):
        yield


@contextmanager
def _hooked(network: Any, modules: Iterable[str], hook: Callable[[str, Tensor], Tensor | None]) -> Iterator[None]:
    with ExitStack() as stack:
        for name in modules:

            def forward_hook(_module: nn.Module, _inputs: Any, output: Tensor, name: str = name) -> Tensor | None:
                return hook(name, output)

            # Looked up now: LoRA adapters may have wrapped the module since the name was chosen.
            stack.callback(network.get_submodule(name).register_forward_hook(forward_hook).remove)
        yield
