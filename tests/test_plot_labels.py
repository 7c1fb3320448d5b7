"""Labels of a plot's points lie near them, inside the plot, and over nothing."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from velatura.app.report.labels import REACH, Box, Label, place_labels

AREA = Box(0, 0, 800, 400)


def test_a_label_alone_stands_right_above_its_point_and_at_the_edge_left_of_it() -> None:
    assert place_labels([("guided", 100, 100)], AREA) == [Label(93, False)]
    assert place_labels([("guided", 790, 100)], AREA) == [Label(93, True)]


def test_no_label_lies_over_another_or_over_a_point() -> None:
    generator = np.random.default_rng(0)
    points = [(f"method {n}", *generator.uniform((300, 150), (480, 250)).round(1)) for n in range(9)]
    boxes = [label.box(name, x) for (name, x, _), label in zip(points, place_labels(points, AREA), strict=True)]
    assert not any(one.meets(other) for one, other in combinations(boxes, 2))
    dots = [Box(x - REACH, y - REACH, x + REACH, y + REACH) for _, x, y in points]
    assert not any(box.meets(dot) for box in boxes for dot in dots)


def test_where_everything_is_taken_a_label_is_still_placed() -> None:
    assert len(place_labels([("a" * 30, 400, 200)] * 20, AREA)) == 20
