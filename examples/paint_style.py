"""Paint one of the project's own style pictures: python examples/paint_style.py FILE [NAME] (whirls, hatching, ...)."""

from __future__ import annotations

import sys
from pathlib import Path

from velatura.evaluation.painted_styles import PAINTED_STYLES

if __name__ == "__main__":
    target = Path(sys.argv[1] if len(sys.argv) > 1 else "style.png")
    PAINTED_STYLES[sys.argv[2] if len(sys.argv) > 2 else "whirls"](0).save(target)
    print(target)
