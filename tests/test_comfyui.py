"""The node pack, by ComfyUI's node contract; and in ComfyUI itself where COMFYUI names a folder with it.

COMFYUI=/path/to/ComfyUI [COMFYUI_PYTHON=/path/to/python] pytest tests/test_comfyui.py
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests import comfyui_pack
from tests.comfyui_pack import PACK, Bar, half_mask, image
from tests.conftest import smooth_image

pytest_plugins = ("tests.comfyui_fixtures",)
WORKFLOWS = sorted((PACK / "workflows").glob("*-api.json"))
CORE_TYPES = {"IMAGE", "MASK", "STRING", "INT", "FLOAT", "BOOLEAN"}


def executed(pack: ModuleType, graph: dict[str, Any]) -> dict[str, tuple[Any, ...]]:
    """Every node's outputs: links followed, names and types of inputs checked, as ComfyUI's executor does."""
    core = {
        "LoadImage": lambda image: (comfyui_pack.image(1 if "photo" in image else 2, 96 if "photo" in image else 64),),
        "LoadImageMask": lambda image, channel: (half_mask(),),
        "SaveImage": lambda images, filename_prefix: (images,),
    }
    outputs: dict[str, tuple[Any, ...]] = {}
    types: dict[str, tuple[str, ...]] = {"LoadImage": ("IMAGE", "MASK"), "LoadImageMask": ("MASK",)}
    for key, node in sorted(graph.items(), key=lambda item: int(item[0])):
        kind, given = node["class_type"], dict(node["inputs"])
        cls = pack.NODE_CLASS_MAPPINGS.get(kind)
        declared = {} if cls is None else cls.INPUT_TYPES()
        allowed = {**declared.get("required", {}), **declared.get("optional", {})}
        for name, value in given.items():
            if isinstance(value, list):
                source = graph[value[0]]["class_type"]
                if cls is not None:
                    assert types[source][value[1]] == allowed[name][0], (kind, name)
                given[name] = outputs[value[0]][value[1]]
            elif cls is not None and isinstance(allowed[name][0], list):
                assert value in allowed[name][0]
        if cls is None:
            outputs[key] = core[kind](**given)
            continue
        assert set(declared["required"]) <= set(given) <= set(allowed), kind
        types[kind] = cls.RETURN_TYPES
        with torch.inference_mode():  # as ComfyUI does
            outputs[key] = getattr(cls(), cls.FUNCTION)(**given)
        assert len(outputs[key]) == len(cls.RETURN_TYPES)
    return outputs


def quick(workflow: Path, model: str) -> dict[str, Any]:
    """A workflow with a small model and few steps."""
    graph: dict[str, Any] = json.loads(workflow.read_text())
    for node in graph.values():
        if node["class_type"] == "VelaturaLoadModel":
            node["inputs"] |= {"model": model, "device": "cpu", "dtype": "fp32"}
        if "steps" in node["inputs"]:
            node["inputs"] |= {"steps": 4, "settings": "size=64"}
    return graph


def test_nodes_keep_the_contract(pack: ModuleType) -> None:
    assert pack.NODE_CLASS_MAPPINGS.keys() == pack.NODE_DISPLAY_NAME_MAPPINGS.keys()
    made = {kind for node in pack.NODE_CLASS_MAPPINGS.values() for kind in node.RETURN_TYPES}
    for node in pack.NODE_CLASS_MAPPINGS.values():
        assert callable(getattr(node, node.FUNCTION)) and node.CATEGORY == "Velatura"
        assert len(node.RETURN_TYPES) == len(node.RETURN_NAMES)
        declared = node.INPUT_TYPES()
        assert set(declared.pop("hidden", {}).values()) <= {"PROMPT", "UNIQUE_ID"}
        for kind, *_ in [entry for part in declared.values() for entry in part.values()]:
            assert isinstance(kind, list) or kind in CORE_TYPES | made


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_the_example_workflows_run(pack: ModuleType, cancelling: Any, model: str, workflow: Path) -> None:
    outputs = executed(pack, quick(workflow, model))
    made = list(outputs.values())[-1][0]
    assert made.shape[1:] == (64, 96, 3) and made.dtype == torch.float32
    assert made.min() >= 0 and made.max() <= 1
    shown = [preview for bar in Bar.made for preview in bar.previews]
    assert shown and all(preview[0] == "JPEG" and isinstance(preview[1], Image.Image) for preview in shown)
    if "region" in workflow.stem:
        assert len(made) == 2 and not torch.equal(made[0], made[1])
        assert torch.allclose(made[:, :, 60:], (image(1, 96)[:, :, 60:] * 255).round() / 255, atol=1e-6)


def _served(path: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(f"http://127.0.0.1:8199/{path}", data, timeout=10) as answer:
        return json.load(answer)


def _until(ask: Any, seconds: int = 240) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            found = ask()
        except OSError:
            found = None
        if found:
            return found
        time.sleep(1)
    raise AssertionError("ComfyUI did not answer in time")


@pytest.mark.skipif("COMFYUI" not in os.environ, reason="COMFYUI names no folder with ComfyUI")
def test_the_workflows_run_in_comfyui_itself(model: str, tmp_path: Path) -> None:
    for folder in ("input", "output", "custom_nodes"):
        (tmp_path / folder).mkdir()
    (tmp_path / "custom_nodes" / "velatura").symlink_to(PACK)
    smooth_image(64, 96, 1).save(tmp_path / "input" / "photo.png")
    smooth_image(64, 64, 2).save(tmp_path / "input" / "painting.png")
    mask = np.zeros((64, 96, 3), np.uint8)
    mask[:, :48] = 255
    Image.fromarray(mask).save(tmp_path / "input" / "mask.png")
    command = [os.environ.get("COMFYUI_PYTHON", sys.executable), "main.py", "--cpu", "--port", "8199"]
    command += ["--base-directory", str(tmp_path), "--database-url", "sqlite:///:memory:"]
    with (
        (tmp_path / "log").open("w") as log,
        subprocess.Popen(command, cwd=os.environ["COMFYUI"], stdout=log, stderr=log) as server,
    ):
        try:
            known = _until(lambda: _served("object_info/VelaturaStylise"))
            assert known["VelaturaStylise"]["output"] == ["IMAGE", "STRING"]
            for workflow in WORKFLOWS:
                queued = _served("prompt", {"prompt": quick(workflow, model)})["prompt_id"]
                done = _until(lambda queued=queued: _served(f"history/{queued}").get(queued))
                assert done["status"]["status_str"] == "success", done["status"]
        finally:
            server.terminate()
    assert [path.name for path in sorted((tmp_path / "output").glob("*.png"))] == [
        "velatura-sweep_00001_.png",
        "velatura-sweep_00002_.png",
        "velatura_00001_.png",
    ]
