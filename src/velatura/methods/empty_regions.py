"""Regions of which nothing shows in a content, as of a mask that is black everywhere: said, and not computed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from velatura.regions.query import query_text

if TYPE_CHECKING:
    from velatura.methods.base import RunResult, WorkingPicture

log = logging.getLogger("velatura")


def run_where_shown(
    contents: Sequence[WorkingPicture],
    run: Callable[[Sequence[WorkingPicture]], list[RunResult]],
    result: Callable[[Tensor], RunResult],
) -> list[RunResult]:
    """``run`` of the contents in which any region shows, together; of each of the others the ``result``
    that its own pixels are."""
    for content in contents:
        warn_of_empty(content)
    shown = [content for content in contents if not content.placement.is_empty]
    results = iter(run(shown) if shown else [])
    return [result(content.pixels()) if content.placement.is_empty else next(results) for content in contents]


def warn_of_empty(content: WorkingPicture) -> None:
    """Log a sentence for each region that shows nowhere in a content."""
    end = ", so that the photo stays as it is" if content.placement.is_empty else ""
    for region in content.placement.empty:
        where = "everywhere" if region.query is None else query_text(region.query)
        log.warning(
            f"The region of the style '{region.style.name}' ({where}) is empty in {content.picture.name}: its mask is "
            f"black everywhere, and white is where a style goes{end}."
        )
