"""The node pack as ComfyUI loads it, with what it takes of ComfyUI, for tests without one."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace

import pytest

from tests.comfyui_pack import PACK, Bar, Cancelled


@pytest.fixture
def cancelling(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """The modules of ComfyUI that the pack uses; ``asked`` is whether the user cancels, ``texts`` are on nodes."""
    state = SimpleNamespace(asked=False, texts=[])

    def check() -> None:
        if state.asked:
            raise Cancelled

    modules = {
        "comfy": ModuleType("comfy"),
        "comfy.utils": SimpleNamespace(ProgressBar=Bar),
        "comfy_execution": ModuleType("comfy_execution"),
        "comfy_execution.utils": SimpleNamespace(get_executing_context=lambda: SimpleNamespace(node_id="7")),
        "server": SimpleNamespace(
            PromptServer=SimpleNamespace(
                instance=SimpleNamespace(send_progress_text=lambda text, node: state.texts.append((node, text)))
            )
        ),
        "comfy.model_management": SimpleNamespace(throw_exception_if_processing_interrupted=check),
    }
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    Bar.made.clear()
    yield state


@pytest.fixture(scope="module")
def pack() -> ModuleType:
    """The folder loaded as ComfyUI loads one."""
    name = str(PACK).replace(".", "_x_")
    spec = importlib.util.spec_from_file_location(name, PACK / "__init__.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
