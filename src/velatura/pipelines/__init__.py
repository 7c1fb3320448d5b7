"""Custom diffusers pipelines: each method with diffusers' argument names, loaded by the path of its file.

``DiffusionPipeline.from_pretrained(folder, custom_pipeline=pipeline_path("guided"), trust_remote_code=True)``
"""

from __future__ import annotations

from pathlib import Path

from velatura.errors import SettingError

FOLDER = Path(__file__).parent
SHARED = (
    "__init__",
    "families",
    "given",
    "ip_adapter",
    "pictures",
    "progress",
    "restoring",
    "schedulers",
    "stylizing",
)
# One class a file: diffusers takes the only pipeline that a file defines.
PIPELINES = tuple(sorted(file.stem for file in FOLDER.glob("*.py") if file.stem not in SHARED))


def pipeline_path(name: str) -> str:
    """The file of a custom pipeline, as diffusers' ``custom_pipeline`` takes it. Raises SettingError for another name.

    >>> pipeline_path("guided").endswith("guided.py")
    True
    """
    if name not in PIPELINES:
        raise SettingError(f"There is no pipeline '{name}': use {', '.join(PIPELINES)}.")
    return str(FOLDER / f"{name}.py")
