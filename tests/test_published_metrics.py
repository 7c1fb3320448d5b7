"""Published metrics: without the published weights they say what is missing and take no other."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from velatura.errors import ModelError
from velatura.evaluation import published
from velatura.evaluation.published import Needs, art_fid, fid, lpips

PICTURES = torch.zeros(2, 3, 32, 32)


def test_missing_weights_and_packages_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(ModelError, match="pip install no-such-package"):
        Needs("X", ("torch", "no-such-package"), "x.pth", "https://example.org/x.pth").check()
    with pytest.raises(ModelError, match=r"download https://example.org/x.pth to .*checkpoints/x.pth"):
        Needs("X", ("torch",), "x.pth", "https://example.org/x.pth").check()
    for metric in (lpips, fid):
        with pytest.raises(ModelError, match="needs"):
            metric(PICTURES, PICTURES)


def test_present_weights_pass(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / published.LPIPS.file).touch()
    Needs("LPIPS", ("torch",), published.LPIPS.file, "").check()


@pytest.mark.parametrize("wrong", [-1.0, float("nan"), float("inf")])
def test_art_fid_takes_distances_only(wrong: float) -> None:
    assert art_fid(0.0, 0.0) == 1
    with pytest.raises(ValueError):
        art_fid(wrong, 0.0)
