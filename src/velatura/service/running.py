"""A job run with the Studio, as the command line runs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from velatura.app.studio import TEXT_STYLE, OneStyle, Studio, as_query, check_mixes, text_style
from velatura.errors import SettingError, StyleError
from velatura.methods.base import Method, Stylization
from velatura.picture import Picture
from velatura.picture.mask import mask_levels
from velatura.regions import Query, Region
from velatura.regions.masks import Mask, mask_of_image
from velatura.regions.query import NOT, NotQuery
from velatura.service.files import PictureStore
from velatura.service.kept_styles import KeptStyles, no_style
from velatura.service.requests import (
    MASK,
    PICTURE,
    FitRequest,
    JobRequest,
    StylizeRequest,
    UsedStyle,
    check_where,
    method_of,
    pictures_of,
)
from velatura.span import Span
from velatura.style import Style


@dataclass(frozen=True, eq=False)
class StoredMask:
    """A mask from an uploaded picture, white inside the region; scaled to the content. Manifests name it ``text``."""

    text: str
    levels: Image.Image

    def __call__(self, picture: Picture) -> Mask:
        return mask_of_image(self.levels, picture.size)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Runner:
    """Runs requests with a Studio; pictures and copies of styles that they name are those of stores."""

    studio: Studio
    pictures: PictureStore
    kept: KeptStyles

    def check(self, request: JobRequest) -> Method:
        """The request's method. Raises a VelaturaError for what can be seen to be wrong without the model."""
        method, _ = method_of(request)
        for picture in pictures_of(request):
            self.pictures.get(picture)
        if isinstance(request, FitRequest):
            self.studio.library.path(request.name)
            if self.studio.library.has(request.name) and not request.replace:
                raise StyleError(f"There is a style '{request.name}' already: choose another name.")
            return method
        if bool(request.styles) == bool(request.regions):
            raise SettingError("Give styles for the whole picture, or regions with styles, and not both.")
        check_mixes(method, len(request.styles))
        if request.regions and not method.regions:
            raise SettingError(f"The method {method.name} has no regions yet: give it styles for the whole picture.")
        for region in request.regions:
            check_where(region.where)
            self.query(region.where)
            Span(region.start, region.end).check("a region")
        for used in request.used_styles:
            if used.style.startswith(TEXT_STYLE):
                text_style(used.style.removeprefix(TEXT_STYLE), method)
            elif self.is_missing(used):
                raise no_style(used.style)
        return method

    def is_missing(self, used: UsedStyle) -> bool:
        """Whether a style of a request is gone: of its copy, of the library, or of the uploaded pictures."""
        if used.is_of_library:
            return not (self.kept.has(used.kept) if used.kept else self.studio.library.has(used.style))
        return used.style.startswith(PICTURE) and not self.pictures.has(used.style.removeprefix(PICTURE))

    def stylize(self, requests: Sequence[StylizeRequest]) -> list[Stylization]:
        """The results of requests that differ in their contents only; one alone may have regions."""
        request = requests[0]
        method, extra = method_of(request)
        contents = [self.pictures.open(each.content) for each in requests]
        if request.regions:
            return [self._stylize_regions(request, contents[0], method)]
        mixed: list[tuple[OneStyle, float]] = [(self.style(share, method), share.weight) for share in request.styles]
        return self.studio.stylize_all(contents, mixed, request.seed, method, **extra)

    def _stylize_regions(self, request: StylizeRequest, content: Picture, method: Method) -> Stylization:
        regions = [
            Region(
                self.style(each, method.for_region()), self.query(each.where), each.weight, Span(each.start, each.end)
            )
            for each in request.regions
        ]
        return method.stylize([content], regions, self.studio.context(request.seed))[0]

    def fit(self, request: FitRequest, is_again: bool) -> Style:
        """The style that a request asks for, fitted and kept in the library, where a run that was killed
        (``is_again``) may have left it already.
        """
        method, _ = method_of(request)
        pictures = [self.pictures.open(picture) for picture in request.pictures]
        mask = None if request.mask is None else self.pictures.open(request.mask)
        fitted = self.studio.fit([*pictures], request.name, method, mask)
        self.studio.library.add(fitted, replace=request.replace or is_again)
        return fitted

    def style(self, used: UsedStyle, method: Method) -> Style:
        """A style in words, of an uploaded picture, or of the library; a text is never taken for a path."""
        source: OneStyle = used.style
        if used.style.startswith(PICTURE):
            source = self.pictures.open(used.style.removeprefix(PICTURE))
        elif used.is_of_library:
            source = self._of_library(used)
        return self.studio.style(source, method)

    def _of_library(self, used: UsedStyle) -> Style:
        if used.kept:
            return self.kept.load(used.kept, used.style)
        if not self.studio.library.has(used.style):  # a job of an earlier version, which kept no copy
            raise no_style(used.style)
        return self.studio.library.load(used.style)

    def query(self, where: str) -> Query:
        """A region's query; masks are uploaded pictures. Raises SettingError for what is no query."""
        check_where(where)
        bare = where.replace(NOT, "")
        if not bare.startswith(MASK):
            return as_query(where)
        found = self.pictures.open(bare.removeprefix(MASK))
        query: Query = StoredMask(bare, mask_levels(found))
        for _ in range(where.count(NOT)):
            query = NotQuery(query)
        return query
