"""train-house check: a report and sheets of any house model."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

import pytest
import torch

from tests.conftest import smooth_image
from tests.tiny_house import tiny_house
from velatura.errors import PictureError
from velatura.models.house.image_encoder import EMBEDDING
from velatura.progress import Silent
from velatura.training import check, word_restyling
from velatura.training.captions import Description
from velatura.training.shards import Example, write_shards


def example(seed: int) -> Example:
    buffer = io.BytesIO()
    smooth_image(256, 260, seed).save(buffer, "WEBP")
    return Example(buffer.getvalue(), Description("photo"), torch.zeros(EMBEDDING))


def test_too_few_held_out_pictures_are_one_sentence_before_any_work(tmp_path: Path) -> None:
    write_shards([example(seed) for seed in range(3)], tmp_path / "shards", "heldout")
    with pytest.raises(PictureError, match="holds 3 pictures"):
        check.check_house("house", tmp_path / "shards", tmp_path / "out", Silent())
    assert not (tmp_path / "out").exists()


def test_a_check_reports_and_draws_sheets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fewer = {(check, "RESTYLED"): 2, (check, "ENLARGED"): 1, (check, "STEPS"): 4, (word_restyling, "STEPS"): 4}
    for (module, name), number in fewer.items():
        monkeypatch.setattr(module, name, number)
    write_shards([example(seed) for seed in range(14)], tmp_path / "shards", "heldout")
    tiny_house().pipeline.save_pretrained(tmp_path / "house")
    report = check.check_house(str(tmp_path / "house"), tmp_path / "shards", tmp_path / "out", Silent())
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == report
    told = [value for key, value in report.items() if key.startswith("restyled by a word")]
    assert len(told) == 3 and all(math.isfinite(value) for measures in told for value in measures.values())  # type: ignore[attr-defined]
    assert report["texture wavelength, 512 px over 256 px"] > 0  # type: ignore[operator]
    assert len(list((tmp_path / "out").glob("*.png"))) == 6
