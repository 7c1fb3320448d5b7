"""The project's own style pictures: the same for a seed, and of the kinds that they stand for."""

from __future__ import annotations

import numpy as np
import pytest

from velatura.evaluation.painted_styles import PAINTED_STYLES, SIDE


@pytest.mark.parametrize("name", PAINTED_STYLES)
def test_a_seed_paints_one_picture(name: str) -> None:
    paint = PAINTED_STYLES[name]
    first, again, other = (np.asarray(paint(seed)) for seed in (0, 0, 1))
    assert first.shape == (SIDE, SIDE, 3)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_each_is_of_its_kind() -> None:
    level = {name: np.asarray(paint(0).convert("L"), dtype=float) for name, paint in PAINTED_STYLES.items()}
    green, orange = np.array((18, 62, 76.0)), np.array((228, 92, 48.0))
    colours = np.asarray(PAINTED_STYLES["poster"](0)).reshape(-1, 3) - green
    share = (colours @ (orange - green) / ((orange - green) ** 2).sum())[:, None]
    assert level["embers"].mean() < 60
    assert level["wash"].mean() > 210
    assert np.ptp(np.percentile(level["hatching"], (20, 95))) > 150  # ink and paper
    assert np.abs(colours - share * (orange - green)).max() < 4  # two inks, and what is between them
