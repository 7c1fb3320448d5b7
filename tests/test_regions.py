"""Masks and the queries that yield them."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from tests.conftest import SHARED
from velatura.errors import ModelError, PictureError, SettingError
from velatura.methods.region_crops import Crop, box_of, crops_of, inserted, padded
from velatura.methods.region_detail import with_detail
from velatura.picture import Picture, open_picture
from velatura.regions import Placement, Region, parse_query
from velatura.regions.grabcut import box_mask, points_mask
from velatura.regions.masks import feathered, grown, image_of_mask, mask_of_image, refined, united, without
from velatura.regions.segments import everything_picture, segments
from velatura.span import Span
from velatura.style import Style

STYLE = Style("s", "diffstyler", "tiny", "", {})
MASKED = SHARED / "data" / "masked"


def placed(masks: list[np.ndarray]) -> Placement:
    return Placement((Region(STYLE),) * len(masks), tuple(masks))


def scene() -> tuple[Image.Image, np.ndarray]:
    """A red disc on a green meadow with noise, and where the disc is."""
    rng = np.random.default_rng(0)
    image = Image.new("RGB", (160, 120), (60, 140, 50))
    disc = Image.new("L", image.size)
    for canvas, colour in ((image, (190, 60, 40)), (disc, 255)):
        ImageDraw.Draw(canvas).ellipse((50, 30, 110, 90), fill=colour)
    noisy = np.asarray(image).astype(int) + rng.integers(-12, 12, (120, 160, 3))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8)), np.asarray(disc) > 0


def overlap(mask: np.ndarray, truth: np.ndarray) -> float:
    found = mask > 0.5
    return (found & truth).sum() / (found | truth).sum()


def test_a_box_and_points_cut_out_the_thing() -> None:
    image, truth = scene()
    assert overlap(box_mask(image, (45, 25, 116, 96)), truth) > 0.95
    assert overlap(points_mask(image, [(70, 60), (90, 50)]), truth) > 0.95


def test_what_is_cut_out_has_neither_specks_nor_pinholes() -> None:
    """Green dots on the red disc and red dots on the meadow, all inside the box."""
    import cv2

    image, truth = scene()
    draw = ImageDraw.Draw(image)
    for x, y, colour in (
        (80, 60, (60, 140, 50)),
        (95, 70, (60, 140, 50)),
        (52, 32, (190, 60, 40)),
        (108, 86, (190, 60, 40)),
    ):
        draw.rectangle((x, y, x + 2, y + 2), fill=colour)
    mask = box_mask(image, (45, 25, 116, 96)) > 0.5
    assert overlap(mask, truth) > 0.95
    assert [cv2.connectedComponents(part.astype(np.uint8))[0] for part in (mask, ~mask)] == [2, 2]


@pytest.mark.skipif(not MASKED.is_dir(), reason=f"the pictures in {MASKED} are not here")
def test_the_papers_deer_from_one_box_and_from_two_points() -> None:
    image = open_picture(MASKED / "deer1.jpg").image
    truth = np.asarray(open_picture(MASKED / "deer1_deer.png").image.convert("L")) > 127
    assert overlap(box_mask(image, (39, 22, 472, 499)), truth) >= 0.85
    for points in ([(100, 130), (280, 210)], [(130, 180), (330, 220)], [(60, 60), (250, 200)]):
        assert overlap(points_mask(image, points), truth) >= 0.75, points


@pytest.mark.parametrize("box", [(-1, 0, 10, 10), (20, 20, 10, 30), (0, 0, 500, 10)])
def test_a_box_outside_the_picture_is_one_sentence(box: tuple[float, float, float, float]) -> None:
    with pytest.raises(SettingError, match="does not lie in the picture of 160 x 120"):
        box_mask(scene()[0], box)
    with pytest.raises(SettingError, match="point 200,3"):
        points_mask(scene()[0], [(200, 3)])


def test_a_box_around_everything_and_a_picture_of_one_colour_do_not_fail() -> None:
    plain = Image.new("RGB", (90, 70), (80, 80, 80))
    assert box_mask(plain, (0, 0, 90, 70)).shape == (70, 90)
    assert points_mask(plain, [(45, 35)]).shape == (70, 90)


def test_masks_grow_shrink_feather_and_combine() -> None:
    mask = np.zeros((40, 40), np.float32)
    mask[10:30, 10:30] = 1
    assert grown(mask, 3)[8, 20] == 1 and grown(mask, 3)[6, 20] == 0
    assert grown(mask, -3)[11, 20] == 0 and grown(mask, -3)[14, 20] == 1
    soft = feathered(mask, 4)
    assert 0 < soft[9, 20] < 0.5 < soft[11, 20] < 1 and soft.sum() == pytest.approx(mask.sum(), rel=1e-3)
    assert np.array_equal(feathered(mask, 0), mask) and np.array_equal(grown(mask, 0), mask)
    assert united([mask, 1 - mask]).min() == 1 and without(mask, mask).max() == 0
    assert np.array_equal(mask_of_image(image_of_mask(mask), (40, 40)), mask)
    assert mask_of_image(image_of_mask(mask), (80, 20)).shape == (20, 80)


def test_later_regions_lie_over_earlier_ones_and_shares_sum_to_the_cover() -> None:
    first = np.ones((16, 16), np.float32)
    second = np.zeros((16, 16), np.float32)
    second[:, :8] = 0.75
    below, above = placed([first, second]).covers()
    assert np.allclose(below[:, :8], 0.25) and np.allclose(below[:, 8:], 1) and np.array_equal(above, second)
    shares = placed([first, second]).shares((2, 2))
    assert shares.shape == (2, 1, 2, 2) and np.allclose(shares.sum(0), 1)
    ten = [np.full((8, 8), 0.5, np.float32)] * 10
    assert np.sum(placed(ten).covers(), axis=0).max() <= 1


def test_queries_are_read_and_wrong_ones_say_what_is_wrong(tmp_path: Path) -> None:
    image, truth = scene()
    picture = Picture.of(image, "scene")
    Image.fromarray((truth * 255).astype(np.uint8)).resize((80, 60)).save(tmp_path / "half.png")
    assert overlap(parse_query(str(tmp_path / "half.png"))(picture), truth) > 0.9
    assert overlap(parse_query("box:45,25,116,96")(picture), truth) > 0.95
    assert overlap(parse_query("point:70,60;90,50")(picture), truth) > 0.95
    assert feathered(grown(parse_query("box:45,25,116,96")(picture), 4), 3.0).sum() > truth.sum()
    for wrong in ("box:1,2,3", "point:a,b", "nowhere.png", "text:"):
        with pytest.raises(SettingError):
            parse_query(wrong)
    (tmp_path / "broken.png").write_text("no picture")
    with pytest.raises(PictureError):
        parse_query(str(tmp_path / "broken.png"))(picture)


def test_a_regions_weight_acts_on_what_is_pasted_and_not_on_its_mask() -> None:
    picture = Picture.of(scene()[0], "scene")
    assert Region(STYLE).mask(picture).min() == 1
    region = Region(STYLE, parse_query("box:45,25,116,96"), 0.5)
    assert region.mask(picture).max() == 1
    assert Placement.of([region], picture).union().max() == 0.5


def test_only_the_regions_of_the_moment_act_and_bad_spans_and_weights_are_refused() -> None:
    regions = (Region(STYLE), Region(STYLE, span=Span(0, 0.5)))
    placement = Placement.of(regions, Picture.of(scene()[0], "scene"))
    assert placement.acting(0.25) == [0, 1] and placement.acting(0.5) == [0] and not placement.is_whole
    assert torch.equal(placement.shares((2, 2), [0])[:, 0, 0, 0], torch.tensor([1.0, 0.0]))
    assert torch.equal(placement.shares((2, 2))[:, 0, 0, 0], torch.tensor([0.0, 1.0]))
    for span in (Span(0.5, 0.5), Span(-0.1, 0.5), Span(0.5, 1.1)):
        with pytest.raises(SettingError, match="The span of a region must lie in 0-1 and rise"):
            Region(STYLE, span=span)
    for weight in (-0.1, 1.1):
        with pytest.raises(SettingError, match="must be from 0 to 1"):
            Region(STYLE, weight=weight)


def test_soft_masks_of_regions_that_never_act_together_count_once() -> None:
    picture, soft = Picture.of(scene()[0], "scene"), 0.5

    def covers(*spans: Span) -> list[float]:
        regions = [Region(STYLE, lambda picture: np.full(picture.size[::-1], soft, np.float32), span=s) for s in spans]
        return [float(cover.mean()) for cover in Placement.of(regions, picture).covers()]

    early, late, whole = Span(0, 0.5), Span(0.5, 1), Span()
    assert covers(early, late) == [0, 0.5]
    assert covers(whole, whole) == [0.25, 0.5]
    assert covers(whole, early, late) == [0.25, 0, 0.5]
    assert covers(early, whole, late) == [0, 0.25, 0.5]


def test_a_polygon_covers_what_lies_within_it() -> None:
    picture = Picture.of(scene()[0], "scene")
    mask = parse_query("polygon:10,10;29,10;29,49;10,49")(picture)
    assert mask.shape == (120, 160) and mask.sum() == 20 * 40 and mask[10:50, 10:30].all()
    with pytest.raises(SettingError, match="at least 3 corners"):
        parse_query("polygon:1,1;2,2")(picture)


def test_segments_cover_the_picture_once_and_find_the_thing() -> None:
    image, truth = scene()
    found = segments(image)
    assert found.shape == truth.shape and found.min() == 1
    areas = np.bincount(found.ravel())[1:]
    assert (areas > 0).all() and (np.diff(areas) <= 0).all()
    picture = Picture.of(image, "scene")
    number = found[60, 80]
    assert overlap(parse_query(f"segment:{number}")(picture), truth) > 0.8
    every = ",".join(map(str, range(1, found.max() + 1)))
    assert parse_query(f"segment:{every}")(picture).all()
    with pytest.raises(SettingError, match="no segment 99: the picture has segments 1 to"):
        parse_query("segment:99")(picture)
    drawn = everything_picture(image)
    assert drawn.size == image.size and not np.array_equal(np.asarray(drawn), np.asarray(image))


def test_sam2_is_asked_as_it_wants_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """With random weights: that prompts and sizes are what transformers' model takes."""
    from transformers import Sam2Config, Sam2Model

    from velatura.regions import sam2

    torch.manual_seed(0)
    model = Sam2Model(Sam2Config()).eval()
    monkeypatch.setattr(sam2, "_sam2", lambda: model)
    picture = Picture.of(scene()[0], "scene")
    for query in ("sam2:box:45,25,116,96", "sam2:point:70,60;90,50"):
        mask = parse_query(query)(picture)
        assert mask.shape == (120, 160) and set(np.unique(mask)) <= {0.0, 1.0}


def test_a_cutter_that_is_not_here_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from velatura.regions import fastsam, sam2

    def unreachable(*_: object, **__: object) -> None:
        raise OSError

    sam2._sam2.cache_clear()
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", unreachable)
    picture = Picture.of(scene()[0], "scene")
    with pytest.raises(ModelError, match="or leave out sam2:"):
        parse_query("sam2:box:1,1,9,9")(picture)
    fastsam._fastsam.cache_clear()
    monkeypatch.setitem(sys.modules, "ultralytics", None)
    with pytest.raises(ModelError, match=r"velatura\[fastsam\]"):
        parse_query("fastsam:text:a disc")(picture)
    with pytest.raises(SettingError, match="sam2 for what it cannot find"):
        parse_query("sam2:text:deer")


def test_fastsam_masks_become_one_of_the_pictures_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a stand-in with ultralytics' face; the real one and its weights are not on this machine."""
    from velatura.regions import fastsam

    asked: dict[str, object] = {}

    class Stand:
        masks = torch.zeros(2, 60, 80)

        def predict(self, image: Image.Image, **prompts: object) -> list[SimpleNamespace]:
            asked.update(prompts)
            return [SimpleNamespace(masks=SimpleNamespace(data=self.masks) if len(self.masks) else None)]

    Stand.masks[0, :30], Stand.masks[1, :, :20] = 1, 1
    monkeypatch.setattr(fastsam, "_fastsam", Stand)
    picture = Picture.of(scene()[0], "scene")
    mask = parse_query("fastsam:point:5,5")(picture)
    assert asked["points"] == [[5.0, 5.0]] and mask[:60].all() and mask[:, :40].all() and not mask[60:, 40:].any()
    Stand.masks = torch.zeros(0, 60, 80)
    with pytest.raises(SettingError, match="found nothing in the box"):
        parse_query("fastsam:box:1,1,9,9")(picture)


def test_neighbours_with_soft_edges_leave_no_seam_and_soft_edges_act_once() -> None:
    left = np.zeros((32, 32), np.float32)
    left[:, :16] = 1
    pair = Placement((Region(STYLE), Region(STYLE)), (left, 1 - left), feather=6)
    assert np.allclose(pair.union(), 1, atol=1e-6) and 0.4 < pair.covers()[0][0, 15] < 0.6
    alone = Placement((Region(STYLE, weight=0.5),), (left,), feather=6)
    assert alone.union()[0, 0] == pytest.approx(0.5) and 0.1 < alone.union()[0, 16] < 0.4
    # On the latents the style is alone wherever it shows at all.
    shares, reached = alone.shares((8, 8)), alone.reached((8, 8))
    assert torch.equal(shares[0], reached[0]) and set(reached.unique().tolist()) == {0.0, 1.0}
    assert torch.allclose(pair.shares((4, 4)).sum(0), torch.ones(1, 4, 4), atol=1e-5)
    gray = placed([left * np.float32(0.5)])
    assert gray.union().max() == 0.5 and torch.equal(gray.shares((2, 2))[0, 0, 0], torch.tensor([1.0, 0.0]))
    assert np.array_equal(gray.parts()[0], left)


def test_masks_reach_the_latents_by_one_area_average() -> None:
    mask = np.zeros((48, 48), np.float32)
    mask[:, :20] = 1
    shares = placed([np.ones_like(mask), mask]).shares((6, 6))
    assert torch.allclose(shares[1, 0, 0], torch.tensor([1, 1, 0.5, 0, 0, 0])) and torch.allclose(
        shares.sum(0), torch.ones(1, 6, 6)
    )


def test_a_manifest_names_spans_hashes_and_no_folder_of_the_user(tmp_path: Path) -> None:
    picture = Picture.of(scene()[0], "scene")
    Image.new("L", (8, 8), 255).save(tmp_path / "cup.png")
    style = Style("dusk", "diffstyler", "tiny", "", {}, {"sha256": "abc"})
    other = Style("dawn", "diffstyler", "tiny", "", {"x": torch.ones(1)}, {"sha256": "def"})
    regions = [
        Region(style, parse_query(str(tmp_path / "cup.png")), 0.5, Span(0, 0.5)),
        Region(other, parse_query("not:point:70,60;not:5,5")),
    ]
    first, second = Placement.of(regions, picture).description()
    assert (first["where"], first["weight"], first["span"]) == ("cup.png", 0.5, [0, 0.5])
    assert second["where"] == "not:point:70,60;not:5,5" and second["span"] == [0, 1]
    assert [each["style_sha256"] for each in (first, second)] == ["abc", "def"]
    assert second["style_identity"] == other.identity != first["style_identity"]
    assert first["mask_sha256"] != second["mask_sha256"] and str(tmp_path) not in str(first)
    for text in ("box:1,2,30,40", "sam2:point:1,2;3,4;not:5,6", "polygon:1,1;2,2;3.5,1", "segment:1,2", "text:a deer"):
        assert str(parse_query(text)) == text and parse_query(str(parse_query(text))) == parse_query(text)


def test_points_that_are_not_in_it_and_everything_else() -> None:
    image, truth = scene()
    picture = Picture.of(image, "scene")
    assert overlap(parse_query("not:point:70,60;90,50")(picture), ~truth) > 0.95
    # The meadow goes on beyond the picture; the disc lies in its middle.
    for query in ("point:20,20;140,100", "point:20,20;not:80,60"):
        assert overlap(parse_query(query)(picture), ~truth) > 0.95
    for wrong in ("point:not:1,2", "not:", "not:nowhere.png", "point:5,5;not:a"):
        with pytest.raises(SettingError):
            parse_query(wrong)
    with pytest.raises(SettingError, match="point 200,3 does not lie"):
        parse_query("point:5,5;not:200,3")(picture)


@pytest.mark.skipif(not MASKED.is_dir(), reason=f"the pictures in {MASKED} are not here")
@pytest.mark.parametrize(
    "query",
    [
        "point:450,450;60,250",  # grass and the sandy path: the published mask has both
        "point:60,400;450,100",
        "point:40,440;480,130;not:280,180",
        "not:box:39,22,472,499",
        "not:point:130,180;330,220",
    ],
)
def test_the_papers_grass_from_two_points_or_as_all_but_the_deer(query: str) -> None:
    truth = np.asarray(open_picture(MASKED / "deer1_grass.png").image.convert("L")) > 127
    assert overlap(parse_query(query)(open_picture(MASKED / "deer1.jpg")), truth) >= 0.8


def test_a_text_without_weights_offers_what_works_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    from velatura.regions import clipseg

    def unreachable(*_: object, **__: object) -> None:
        raise OSError

    clipseg._clipseg.cache_clear()
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", unreachable)
    with pytest.raises(ModelError, match=r"box:x0,y0,x1,y1, point:x,y;not:x,y, .*segment:NUMBER .*--everything"):
        parse_query("text:deer")(Picture.of(scene()[0], "scene"))


def test_a_regions_style_with_weight_and_span_is_read() -> None:
    from velatura.app.options import parse_region_style, parse_regions

    assert parse_region_style("dusk*0.5@0-0.5") == ("dusk", 0.5, Span(0, 0.5))
    assert parse_region_style("dusk@0.5-1") == ("dusk", 1.0, Span(0.5, 1))
    assert parse_region_style("2*dusk") == ("2*dusk", 1.0, Span()) and parse_region_style("a*0.2") == ("a", 0.2, Span())
    for wrong in ("dusk*1.5", "dusk*nan", "dusk@0.5-0.2"):
        with pytest.raises(SettingError, match="of a region must"):
            parse_regions([f"box:1,1,2,2={wrong}"], "diffstyler")


def patch(*boxes: tuple[int, int, int, int], size: tuple[int, int] = (400, 300)) -> np.ndarray:
    """A mask (H, W) in a picture of ``size`` (width, height) that is 1 in boxes (left, top, right, bottom)."""
    mask = np.zeros(size[::-1], np.float32)
    for left, top, right, bottom in boxes:
        mask[top:bottom, left:right] = 1
    return mask


def test_a_region_is_worked_on_in_its_box_with_a_margin() -> None:
    assert crops_of(placed([patch((100, 80, 180, 140))]), 32) == [Crop((80, 60, 200, 160), (0,))]
    # The least side, the longest shape, and the picture's rim.
    assert crops_of(placed([patch((200, 100, 210, 110))]), 64) == [Crop((173, 73, 237, 137), (0,))]
    assert padded((100, 100, 180, 104), (400, 300), 32) == (80, 72, 200, 132)
    assert padded((0, 0, 80, 60), (400, 300), 32) == (0, 0, 120, 100)
    assert padded((0, 0, 400, 20), (400, 300), 32) == (0, 0, 400, 300)
    assert box_of(patch((3, 4, 5, 9))) == (3, 4, 5, 9) and box_of(patch()) is None


def test_crops_that_overlap_are_one_and_one_of_most_of_the_picture_is_the_whole() -> None:
    near, far = patch((60, 60, 100, 100)), patch((300, 200, 340, 240))
    assert [crop.regions for crop in crops_of(placed([near, patch((110, 60, 150, 100)), far]), 32)] == [(0, 1), (2,)]
    # A third that lies between two joins them.
    chain = [patch((20, 20, 60, 60)), patch((140, 20, 180, 60)), patch((70, 20, 130, 60))]
    assert [crop.regions for crop in crops_of(placed(chain), 32)] == [(0, 1, 2)]
    assert crops_of(placed([near, patch((10, 10, 390, 290))]), 32) == []
    assert crops_of(placed([np.ones_like(near)]), 32) == [] and crops_of(placed([0 * near]), 32) == []
    # What others hide has no crop.
    assert [crop.regions for crop in crops_of(placed([near, near]), 32)] == [(1,)]


def test_a_crop_of_a_placement_is_its_part_and_goes_back_to_its_place() -> None:
    image, truth = scene()
    placement = Placement((Region(STYLE),) * 2, (truth.astype(np.float32), patch(size=(160, 120))), 0, 3, image)
    part = placement.cropped((40, 20, 120, 100), (0,))
    assert np.array_equal(part.masks[0] > 0, truth[20:100, 40:120]) and part.guide is not None
    assert part.guide.size == (80, 80) and len(part.regions) == 1 and part.refine == 3
    crop = Crop((40, 20, 120, 100), (0,))
    whole = inserted(image, [crop], [crop.of(Picture.of(image)).image])
    assert np.array_equal(np.asarray(whole), np.asarray(image))


def test_refined_masks_follow_the_picture_sum_to_one_and_stay_within() -> None:
    image, truth = scene()
    shifted = np.roll(truth, 3, 1).astype(np.float32)
    soft, rest = refined([shifted, 1 - shifted], image, 4)
    assert np.allclose(soft + rest, 1, atol=1e-5)
    before, after = (np.abs(mask - truth)[(truth > 0) | (shifted > 0)].mean() for mask in (shifted, soft))
    assert after < 0.8 * before
    alone = refined([shifted], image, 4)[0]
    assert (alone[shifted == 0] == 0).all() and alone.max() <= 1
    whole = np.ones_like(shifted)
    assert np.array_equal(refined([whole], image, 4)[0], whole)


def test_the_photos_detail_comes_back_where_it_is_stronger_in_the_regions_contrast() -> None:
    image, _ = scene()
    flat = Image.new("RGB", image.size, (240, 235, 230))
    everywhere, nowhere = np.ones((120, 160), np.float32), np.zeros((120, 160), np.float32)
    assert with_detail(flat, image, [everywhere], 120, 0.0) is flat
    assert np.array_equal(np.asarray(with_detail(flat, image, [nowhere], 120, 1.0)), np.asarray(flat))
    back = np.asarray(with_detail(flat, image, [everywhere], 120, 1.0)).astype(float)
    luma = np.asarray(image.convert("L")).astype(float)
    assert np.corrcoef(np.diff(back[..., 0]).ravel(), np.diff(luma).ravel())[0, 1] > 0.7
    assert back.max() <= 251 and back.std((0, 1)).max() < luma.std() + 1
    # What the picture has more of itself stays, calmed.
    sharp = Image.fromarray((np.indices((120, 160)).sum(0) % 2 * 200 + 20).astype(np.uint8)).convert("RGB")
    kept = np.asarray(with_detail(sharp, image, [everywhere], 120, 1.0)).astype(float)[..., 0]
    before = np.asarray(sharp).astype(float)[..., 0]
    assert np.corrcoef(kept.ravel(), before.ravel())[0, 1] > 0.99 and 0.5 < kept.std() / before.std() < 0.75


def test_points_without_semicolons_are_told_how_to_be_written() -> None:
    with pytest.raises(SettingError, match="semicolons between the points, as 10,10;200,40;90,180"):
        parse_query("polygon:10,10,480,30,200,480")
