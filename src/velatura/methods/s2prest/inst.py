"""InST (Zhang et al. 2023): S2PreST without what the edges add."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from velatura.errors import SettingError
from velatura.methods.s2prest.edges import NO_EDGES
from velatura.methods.s2prest.method import S2PreST
from velatura.methods.s2prest.settings import INST_SHARES, paper_preset


@dataclass(frozen=True)
class InST(S2PreST):
    """Plain InST (Zhang et al. 2023): the style's own condition, no edges, no style latent."""

    name: ClassVar[str] = "inst"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"paper": paper_preset(INST_SHARES)}
    published_shares: ClassVar[Mapping[str, float]] = INST_SHARES

    edges: str = NO_EDGES

    def __post_init__(self) -> None:
        super().__post_init__()
        idle = self._idle_edge_settings()
        if idle:
            raise SettingError(
                f"{self.name} goes without edges, so that {' and '.join(idle)} would do nothing: leave "
                f"{'it' if len(idle) == 1 else 'them'} out, give edges with edge_noise or edge_condition, or use "
                "--method s2prest."
            )

    def _idle_edge_settings(self) -> list[str]:
        """Edge settings that were set and that nothing comes of."""
        drawn = self.edges != NO_EDGES
        changed = {
            "edge_condition": self.edge_condition > 0 and not drawn,
            "edge_noise": self.edge_noise > 0 and not drawn,
            "edges": drawn and max(self.edge_noise, self.edge_condition) <= 0,
            "edge_threshold": self.edge_threshold > 0 and self.edges != "canny",
            "edge_schedule": self.edge_schedule != "constant" and not (drawn and self.edge_condition > 0),
        }
        return [name for name, idle in changed.items() if idle]
