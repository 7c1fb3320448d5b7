"""Pictures in and out: every kind that opens, every kind that must not, sizes, and what is written."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from kornia.filters import filter2d_separable
from PIL import ExifTags, Image, ImageCms

from tests.conftest import smooth_image
from velatura.errors import PictureError, SettingError
from velatura.picture import (
    Picture,
    image_to_pixels,
    open_picture,
    pixels_to_image,
    plan_size,
    read_manifest,
    save_picture,
)
from velatura.picture.blur import binomial
from velatura.picture.writing import replacing


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tiff", ".avif"])
def test_common_formats_open(tmp_path: Path, suffix: str) -> None:
    smooth_image(40, 60).save(tmp_path / f"a{suffix}")
    picture = open_picture(tmp_path / f"a{suffix}")
    assert picture.size == (60, 40) and picture.image.mode == "RGB" and picture.name == "a"
    assert np.abs(np.asarray(picture.image).astype(int) - np.asarray(smooth_image(40, 60))).mean() < 4


@pytest.mark.parametrize("mode", ["L", "P", "1", "CMYK", "RGBA", "LA", "YCbCr"])
def test_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("a.tiff" if mode in ("CMYK", "YCbCr", "LA") else "a.png")
    smooth_image().convert(mode if mode != "LA" else "L").convert(mode).save(path)
    assert open_picture(path).image.mode == "RGB"


def test_sixteen_bit_gray_keeps_its_tones(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 256).astype(np.uint16)[None].repeat(8, 0)
    Image.fromarray(ramp).save(tmp_path / "deep.png")
    opened = np.asarray(open_picture(tmp_path / "deep.png").image)[0, :, 0]
    assert np.abs(opened.astype(int) - np.arange(256)).max() <= 1


def test_orientation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    smooth_image(40, 60).save(tmp_path / "a.jpg", exif=exif)
    assert open_picture(tmp_path / "a.jpg").size == (40, 60)


def test_a_foreign_profile_is_converted(tmp_path: Path) -> None:
    image = Image.new("RGB", (8, 8), (200, 60, 20))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    # The same profile with the red and blue primaries exchanged: red data then means blue light.
    swapped = srgb.replace(b"rXYZ", b"tmp1").replace(b"bXYZ", b"rXYZ").replace(b"tmp1", b"bXYZ")
    image.save(tmp_path / "srgb.png", icc_profile=srgb)
    image.save(tmp_path / "swapped.png", icc_profile=swapped)
    assert np.asarray(open_picture(tmp_path / "srgb.png").image)[0, 0].tolist() == [200, 60, 20]
    red, _, blue = np.asarray(open_picture(tmp_path / "swapped.png").image)[0, 0].tolist()
    assert blue > 180 and red < 60


def test_a_broken_profile_is_ignored(tmp_path: Path) -> None:
    smooth_image().save(tmp_path / "a.png", icc_profile=b"not a profile")
    assert open_picture(tmp_path / "a.png").size == (64, 64)


def test_alpha_is_kept_and_put_back(tmp_path: Path) -> None:
    image = smooth_image()
    alpha = Image.fromarray(np.tile(np.arange(64, dtype=np.uint8) * 4, (64, 1)))
    image.putalpha(alpha)
    image.save(tmp_path / "a.png")
    picture = open_picture(tmp_path / "a.png")
    assert picture.alpha is not None
    save_picture(picture.image, tmp_path / "b.webp", {}, picture.alpha)
    again = open_picture(tmp_path / "b.webp")
    assert again.alpha is not None and np.array_equal(np.asarray(again.alpha), np.asarray(alpha))
    save_picture(picture.image, tmp_path / "b.jpg", {}, picture.alpha)
    assert open_picture(tmp_path / "b.jpg").alpha is None


def test_opaque_alpha_is_no_alpha(tmp_path: Path) -> None:
    image = smooth_image().convert("RGBA")
    image.save(tmp_path / "a.png")
    assert open_picture(tmp_path / "a.png").alpha is None


def test_of_an_animation_the_first_frame_is_taken_and_said(tmp_path: Path) -> None:
    frames = [smooth_image(seed=seed) for seed in range(3)]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:], lossless=True)
    picture = open_picture(tmp_path / "a.webp")
    assert "first of its 3 frames" in picture.notes[0]
    assert np.array_equal(np.asarray(picture.image), np.asarray(frames[0]))


def _png_of_size(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = (b"IHDR" + header, b"IDAT" + zlib.compress(bytes(100)))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks
    )


def test_what_cannot_be_opened_says_why(tmp_path: Path) -> None:
    whole = io.BytesIO()
    smooth_image(200, 200).save(whole, "JPEG")
    cases = {
        "missing.png": (None, "no file"),
        "empty.png": (b"", "empty"),
        "text.jpg": (b"hello, this is no picture", "not a picture"),
        "cut.jpg": (whole.getvalue()[:400], "damaged|incomplete"),
        "bomb.png": (_png_of_size(60_000, 60_000), "more than 100,000,000 pixels, the limit"),
        "large.png": (_png_of_size(12_000, 12_000), "12000 x 12000 pixels, over the limit of 100,000,000"),
        "zero.png": (_png_of_size(0, 10), "damaged|not a picture"),
    }
    for name, (data, reason) in cases.items():
        if data is not None:
            (tmp_path / name).write_bytes(data)
        with pytest.raises(PictureError, match=reason) as caught:
            open_picture(tmp_path / name)
        assert name in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(PictureError, match="folder"):
        open_picture(tmp_path)


def test_an_unlisted_format_is_refused(tmp_path: Path) -> None:
    smooth_image().save(tmp_path / "a.bmp")
    with pytest.raises(PictureError, match="not a picture that can be read"):
        open_picture(tmp_path / "a.bmp")


@pytest.mark.parametrize(
    ("original", "expected"), [((500, 339), (376, 256)), ((256, 256), (256, 256)), ((3000, 500), (1536, 256))]
)
def test_sizes_keep_the_aspect(original: tuple[int, int], expected: tuple[int, int]) -> None:
    sizing = plan_size(original, 256, 8)
    assert sizing.working == expected and sizing.original == original


def test_extreme_sizes_stay_possible() -> None:
    assert plan_size((10, 10_000), 256, 8, max_long_side=2048).working == (64, 2048)
    with pytest.raises(SettingError, match="at least 64"):
        plan_size((100, 100), 8, 8)


def test_tensors_round_trip() -> None:
    image = smooth_image(24, 40)
    pixels = image_to_pixels(image)
    assert pixels.shape == (1, 3, 24, 40) and pixels.min() >= -1 and pixels.max() <= 1
    assert np.array_equal(np.asarray(pixels_to_image(pixels)), np.asarray(image))
    assert pixels_to_image(torch.full((1, 3, 8, 8), 7.0), (5, 4)).size == (5, 4)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tiff", ".avif"])
def test_the_manifest_comes_back(tmp_path: Path, suffix: str) -> None:
    manifest = {"seed": 3, "settings": {"prompt": 'a "painting" in the style of *, à la café'}}
    path = save_picture(smooth_image(), tmp_path / f"a{suffix}", manifest, sidecar=True)
    assert read_manifest(path) == manifest
    assert '"seed": 3' in (tmp_path / f"a{suffix}.json").read_text()


def test_other_peoples_pictures_have_no_manifest(tmp_path: Path) -> None:
    smooth_image().save(tmp_path / "a.png")
    with pytest.raises(PictureError, match="no manifest"):
        read_manifest(tmp_path / "a.png")


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), replacing(path) as unfinished:
        unfinished.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_unknown_endings_and_unwritable_places_are_named(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match="no known picture ending"):
        save_picture(smooth_image(), tmp_path / "a.xyz", {})
    (tmp_path / "file").write_text("")
    with pytest.raises(PictureError, match="cannot be written"):
        save_picture(smooth_image(), tmp_path / "file" / "a.png", {})


def test_pictures_in_memory_have_a_digest_of_their_content() -> None:
    first, same, other = (Picture.of(smooth_image(seed=seed)) for seed in (0, 0, 1))
    assert first.digest == same.digest != other.digest


@pytest.mark.parametrize("border", ["reflect", "replicate"])
def test_the_binomial_filter_is_kornias_and_takes_the_finest_waves(border: str) -> None:
    noise, weights = torch.randn(2, 3, 9, 12, generator=torch.Generator().manual_seed(0)), torch.tensor([[1, 2, 1]]) / 4
    expected = filter2d_separable(noise, weights, weights, border_type=border)
    assert torch.allclose(binomial(noise, border), expected, atol=1e-6)
    alternating = (torch.arange(12) % 2 * 2.0 - 1).expand(1, 1, 9, 12)
    assert binomial(alternating, border)[..., 1:-1].abs().max() < 1e-6
