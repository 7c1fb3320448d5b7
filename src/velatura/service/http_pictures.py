"""Routes of uploaded pictures, and of masks found in them."""

from __future__ import annotations

import io
from typing import Annotated

from fastapi import APIRouter, File, Path, Response, UploadFile
from PIL import Image
from pydantic import Field

from velatura.errors import PictureError
from velatura.picture import Picture
from velatura.regions.masks import feathered, grown, image_of_mask, united
from velatura.regions.segments import segments
from velatura.service.files import StoredPicture
from velatura.service.http_jobs import IMAGE
from velatura.service.requests import PictureId, Strict, Where
from velatura.service.service import Service

PictureParameter = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$", description="An uploaded picture.")]
SEGMENTED_PIXELS = 4_000_000  # of a picture that is segmented while a client waits


class MaskRequest(Strict):
    """What to cut out of a picture: the union of ``where``, grown by pixels (negative: shrunk), its edge softened."""

    picture: PictureId
    where: list[Where] = Field(min_length=1, max_length=20)
    grow: Annotated[int, Field(ge=-256, le=256)] = 0
    feather: Annotated[float, Field(ge=0, le=1000)] = 0.0


def picture_routes(service: Service) -> APIRouter:
    """The routes of pictures and masks."""
    router = APIRouter(tags=["pictures"])

    @router.post("/pictures", status_code=201)
    def upload(file: Annotated[UploadFile, File(description="JPEG, PNG, WebP, TIFF, AVIF or HEIC.")]) -> StoredPicture:
        """Upload a picture; the same bytes give the same id."""
        return service.pictures.add(file.file.read(), file.filename or "picture")

    @router.get("/pictures/{picture_id}")
    def get(picture_id: PictureParameter) -> StoredPicture:
        """What is known of a picture."""
        return service.pictures.get(picture_id)

    @router.get("/pictures/{picture_id}/small", response_class=Response, responses=IMAGE)
    def small(picture_id: PictureParameter) -> Response:
        """A picture as a small JPEG."""
        return Response(service.pictures.small(picture_id), media_type="image/jpeg")

    @router.get("/pictures/{picture_id}/segments", response_class=Response, responses=IMAGE)
    def numbered(picture_id: PictureParameter) -> Response:
        """A PNG of the picture's size in which each pixel's gray is the number of its segment, for segment:N."""
        found = segments(_segmented(service, picture_id).image)
        return _png(Image.fromarray(found.astype("uint8")))

    @router.post("/masks", response_class=Response, responses=IMAGE)
    def mask(request: MaskRequest) -> Response:
        """A mask of something in a picture, as a gray PNG, white where it is; upload it to use it as mask:ID."""
        picture = _segmented(service, request.picture)
        found = united([service.runner.query(where)(picture) for where in request.where])
        return _png(image_of_mask(feathered(grown(found, request.grow), request.feather)))

    return router


def _segmented(service: Service, picture_id: str) -> Picture:
    picture = service.pictures.open(picture_id)
    width, height = picture.size
    if width * height > SEGMENTED_PIXELS:
        raise PictureError(
            f"The picture has {width} x {height} pixels, and at most {SEGMENTED_PIXELS:,} are cut out while you wait: "
            "scale it down first, and the mask up; or name the region in the job."
        )
    return picture


def _png(image: Image.Image) -> Response:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return Response(buffer.getvalue(), media_type="image/png")
