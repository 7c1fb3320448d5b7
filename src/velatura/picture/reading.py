"""Opening picture files as upright 8-bit sRGB, with their alpha channel kept apart."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms, ImageOps, UnidentifiedImageError

from velatura.errors import PictureError
from velatura.picture.regular_file import read_regular

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF")
MAX_PIXELS = 100_000_000
MAX_BYTES = 512 * 2**20
QUARTER_TURNED = (5, 6, 7, 8)  # EXIF orientations whose width is the upright picture's height


@dataclass(frozen=True)
class Picture:
    """An opened picture: ``image`` is upright RGB in sRGB, ``alpha`` its 8-bit alpha channel where not all is opaque.

    ``name`` is the file's stem, ``digest`` the SHA-256 of the file, ``notes`` are sentences to show the user. ``file``
    is its path as it was given, of an absolute one the name alone: no folder of the user's goes into manifests.
    """

    image: Image.Image
    alpha: Image.Image | None = None
    name: str = "picture"
    digest: str = ""
    notes: tuple[str, ...] = field(default=())
    file: str = ""

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.image.size

    @staticmethod
    def of(image: Image.Image, name: str = "picture") -> Picture:
        """A Picture of an image in memory; its digest is the SHA-256 of its size and pixels."""
        rgb, alpha = _split_alpha(image)
        content = repr(rgb.size).encode() + rgb.tobytes() + (alpha.tobytes() if alpha else b"")
        return Picture(rgb, alpha, name, hashlib.sha256(content).hexdigest())


@contextmanager
def _explained(path: Path, max_pixels: int) -> Iterator[None]:
    """Turn what Pillow raises while reading into a PictureError."""
    try:
        yield
    except Image.DecompressionBombError:  # from Pillow's own limit, which lies above ours
        raise PictureError(f"{path} has more than {max_pixels:,} pixels, the limit: scale it down first.") from None
    except UnidentifiedImageError:
        raise PictureError(f"{path} is not a picture that can be read: give a {', '.join(FORMATS)} file.") from None
    except PictureError:
        raise
    except Exception as error:  # the decoders raise almost anything on damaged data
        raise PictureError(f"{path} is damaged or incomplete ({error}): save or download it again.") from None


def open_picture(path: str | Path, max_pixels: int = MAX_PIXELS) -> Picture:
    """Open a JPEG, PNG, WebP, TIFF, AVIF or HEIC file of at most ``max_pixels`` pixels.

    EXIF orientation is applied, an ICC profile converted to sRGB, gray, palette, CMYK, 16-bit and floating data brought
    to 8-bit RGB; of an animation the first frame is taken (with a note).
    Raises PictureError for a file that is missing, no regular file, empty, no picture, damaged, cut short or too large.
    """
    if not str(path):
        raise PictureError("The name of a picture is empty: name a file.")
    return picture_of_bytes(read_regular(Path(path), MAX_BYTES), path, max_pixels)


def picture_of_bytes(data: bytes, path: str | Path, max_pixels: int = MAX_PIXELS) -> Picture:
    """The picture in the bytes of a file, which is called ``path`` in sentences; as ``open_picture`` otherwise."""
    path = Path(path)
    _register_heif()
    with _explained(path, max_pixels), warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # below our own limit
        with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
            if opened.width * opened.height > max_pixels:
                raise PictureError(
                    f"{path} has {opened.width} x {opened.height} pixels, over the limit of {max_pixels:,}: "
                    "scale it down first."
                )
            frames = getattr(opened, "n_frames", 1)
            opened.load()
            upright = ImageOps.exif_transpose(opened)
            rgb, alpha = _split_alpha(_to_srgb(_eight_bit(upright), opened.info.get("icc_profile")))
    notes = (f"{path.name} is animated: only the first of its {frames} frames is used.",) if frames > 1 else ()
    file = path.name if path.is_absolute() else path.as_posix()
    return Picture(rgb, alpha, path.stem, hashlib.sha256(data).hexdigest(), notes, file)


def upright_size(data: bytes, path: str | Path) -> tuple[int, int]:
    """The (width, height) of the picture in a file's bytes as it is opened, found without decoding it.

    Raises PictureError for bytes that no picture begins with.
    """
    _register_heif()
    with _explained(Path(path), MAX_PIXELS), warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
            turned = opened.getexif().get(ExifTags.Base.Orientation, 1) in QUARTER_TURNED
            return (opened.height, opened.width) if turned else opened.size


@lru_cache(maxsize=1)
def _register_heif() -> None:
    """Let Pillow open HEIC files, the format of many phones."""
    from pillow_heif import register_heif_opener

    register_heif_opener()


def _eight_bit(image: Image.Image) -> Image.Image:
    """16-bit and floating gray to 8 bits; everything else unchanged."""
    if image.mode.startswith("I;16") or image.mode == "I":
        return Image.fromarray((np.asarray(image).astype(np.int64).clip(0, 65535) / 257).round().astype(np.uint8))
    if image.mode == "F":
        return Image.fromarray(_scaled_to_bytes(np.asarray(image)))
    return image


def _scaled_to_bytes(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Floats as bytes: 0..1, widened to the range of the finite values but for its most extreme thousandths.

    A few stray values do not darken the rest. What is not a number becomes black. Raises ValueError without any finite
    value.
    """
    finite = values[np.isfinite(values)]
    if not finite.size:
        raise ValueError("no pixel is a finite number")
    low = min(0.0, float(np.quantile(finite, 0.001, method="higher")))
    high = max(1.0, float(np.quantile(finite, 0.999, method="lower")))
    clipped = np.nan_to_num(values.astype(np.float64), nan=low, posinf=high, neginf=low).clip(low, high)
    return np.asarray(((clipped - low) / (high - low) * 255).round(), dtype=np.uint8)


def _to_srgb(image: Image.Image, icc: bytes | None) -> Image.Image:
    """Convert from the embedded ICC profile to sRGB; a profile that does not fit the data is ignored."""
    if not icc or image.mode not in ("RGB", "RGBA", "CMYK", "L"):
        return image
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        alpha = image.getchannel("A") if image.mode == "RGBA" else None
        flat = image.convert("RGB") if image.mode == "RGBA" else image
        converted = ImageCms.profileToProfile(flat, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError):
        return image
    if converted is None:
        return image
    if alpha is not None:
        converted.putalpha(alpha)
    return converted


def _split_alpha(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """RGB and, where anything is not opaque, the 8-bit alpha channel."""
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        alpha = rgba.getchannel("A")
        lowest = alpha.getextrema()[0]
        return rgba.convert("RGB"), alpha if isinstance(lowest, (int, float)) and lowest < 255 else None
    return image.convert("RGB"), None
