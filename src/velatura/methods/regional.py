"""A method with regions: each is worked on in a crop around it, so that small ones are sharp and cost little."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

from PIL import Image

from velatura.methods.base import Method, RunResult, WorkingPicture
from velatura.methods.context import RunContext
from velatura.methods.finite_results import check_finite_result
from velatura.methods.memory import check_memory
from velatura.methods.region_crops import Crop, crops_of, inserted
from velatura.methods.region_detail import with_detail
from velatura.methods.validation import Choices, Range, Share
from velatura.picture import Picture, image_to_pixels
from velatura.regions import Placement, Region

CROPS = "crops"  # the manifest's entry for the crops; only a run in crops has it
REGION_SIZES = ("crop", "picture")


@dataclass(frozen=True)
class RegionalMethod(Method):
    """A method with regions.

    ``region_size`` "crop" works on regions in crops around them, each at the method's working size; "picture" on the
    whole picture at that size. ``refine`` is how far inwards a mask's edge may follow the picture's own edges, as a
    share of the picture's short side (0: it stays as given). ``detail`` (0..1) is how much of the photo's finest
    detail, what the working size cannot hold or the style wiped away, goes into the regions, scaled to their contrast.
    """

    regions: ClassVar[bool] = True

    region_size: Annotated[str, Choices(REGION_SIZES)] = field(default="crop", kw_only=True)
    detail: Share = field(default=1.0, kw_only=True)
    refine: Annotated[float, Range(0, 0.1)] = field(default=0.008, kw_only=True)

    def place(self, regions: Sequence[Region], content: Picture) -> Placement:
        """The regions' masks in a content, with refined edges."""
        return Placement.of(regions, content, refine=self.edge_radius(content))

    def edge_radius(self, content: Picture) -> int:
        """``refine`` in a content's pixels."""
        return round(self.refine * min(content.size))

    def _runs(self, contents: Sequence[WorkingPicture], context: RunContext[Any]) -> list[RunResult]:
        return [run for content in contents for run in self._run_in_crops(content, context)]

    def _run_in_crops(self, content: WorkingPicture, context: RunContext[Any]) -> list[RunResult]:
        """The run of one content: of its crops, put in their places, or of the whole where it has none."""
        crops = crops_of(content.placement, context.backbone.native_size // 2) if self.region_size == "crop" else []
        if not crops:
            return self._controlled_run([content], context)
        pieces = [self._piece(content, crop, context) for crop in crops]
        runs = [self._controlled_run([piece], context)[0] for piece in pieces]
        pictures = [self._cropped_picture(piece, run, context) for piece, run in zip(pieces, runs, strict=True)]
        pixels = image_to_pixels(inserted(content.picture.image, crops, pictures))
        manifest = {
            "working_size": list(pieces[0].size),
            CROPS: [_described(*each) for each in zip(crops, pieces, runs, strict=True)],
        }
        if len(runs) == 1:
            return [RunResult(pixels, runs[0].layers, runs[0].scores, {**runs[0].manifest, **manifest})]
        layers = _numbered([run.layers for run in runs])
        return [RunResult(pixels, layers, _numbered([run.scores for run in runs]), manifest)]

    def _piece(self, content: WorkingPicture, crop: Crop, context: RunContext[Any]) -> WorkingPicture:
        picture = crop.of(content.picture)
        size = self.working_size(picture.size, context.backbone)
        check_memory(size, self.bytes_per_pixel + self.final_bytes_per_pixel, context.backbone)
        placement = content.placement.cropped(crop.box, crop.regions)
        return WorkingPicture(picture, size, placement, crop.part_of(content.picture))

    def _cropped_picture(self, piece: WorkingPicture, run: RunResult, context: RunContext[Any]) -> Image.Image:
        check_finite_result(run.pixels, self, piece.picture.name)
        return self._picture(piece, run, context)

    def detail_share(self, placement: Placement) -> float:
        """How much of the photo's detail comes back: none where every region is the whole picture."""
        everywhere = placement.is_whole or all(region.query is None for region in placement.regions)
        return 0.0 if everywhere else self.detail

    def _picture(self, content: WorkingPicture, run: RunResult, context: RunContext[Any]) -> Image.Image:
        """The run's picture with the photo's detail; that of crops, which have both already, as it is."""
        if CROPS in run.manifest:
            return self.to_image(run.pixels, content.picture.size)
        picture, placement = super()._picture(content, run, context), content.placement
        side, share = min(content.size), self.detail_share(placement)
        return with_detail(picture, content.picture.image, placement.parts(), side, share)


def _described(crop: Crop, piece: WorkingPicture, run: RunResult) -> dict[str, Any]:
    """A crop as a manifest lists it."""
    return {"box": list(crop.box), "regions": list(crop.regions), "working_size": list(piece.size), **run.manifest}


def _numbered(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The entries of several crops, by name and the crop's number."""
    return {f"{name}.crop{number}": value for number, each in enumerate(found) for name, value in each.items()}
