"""Training a house model on: kept latents, the rows of a step, a run that ends by itself and goes on, the command."""

from __future__ import annotations

import copy
import dataclasses
import io
import json
import random
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.command_line import run as run_command
from tests.conftest import interrupt_training, smooth_image, smooth_pixels
from tests.tiny_house import tiny_house
from velatura.errors import ModelError
from velatura.models.house.image_encoder import EMBEDDING
from velatura.models.loading.load import load_backbone
from velatura.progress import Silent
from velatura.training.captions import Description
from velatura.training.fast.recipe import FastRecipe
from velatura.training.further.batches import LatentBatches
from velatura.training.further.kept_latents import KeptLatents, Scales, kept_latents
from velatura.training.further.recipe import FurtherRecipe
from velatura.training.further.rows import FurtherRows
from velatura.training.further.training import train_further
from velatura.training.made_pictures import without_style
from velatura.training.shards import Example, write_shards
from velatura.training.training_log import TrainingLog, TrainingRun

TINY = FurtherRecipe(minutes=0, batch=4)
PAINTED = Description("painted", "cat")


def example(description: Description, seed: int, beneath: int | None = None) -> Example:
    buffer = io.BytesIO()
    smooth_image(280, 300, seed).save(buffer, "WEBP")
    return Example(buffer.getvalue(), description, torch.randn(EMBEDDING), beneath)


def examples() -> list[Example]:
    photo, painting = Description("photo", "dog"), Description("painting", style="cubism")
    return [example(photo, 0), example(painting, 1), example(PAINTED, 2, beneath=0)]


def averaged(pixels: Tensor) -> Tensor:
    """An encoder whose latents tell what they are of: each block's mean colours, and zeros."""
    return torch.nn.functional.pad(torch.nn.functional.avg_pool2d(pixels, 8), (0, 0, 0, 0, 0, 5))


def kept(path: Path, source: str = "a", encode: object = averaged) -> KeptLatents:
    return kept_latents(path / "latents.safetensors", examples(), encode, source, 0, Silent())  # type: ignore[arg-type]


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    write_shards(examples(), tmp_path / "shards", "train")
    write_shards([example(Description("photo"), 7)], tmp_path / "shards", "heldout")
    return tmp_path / "shards"


def test_latents_are_of_two_scales_and_mirrored_and_read_again(tmp_path: Path) -> None:
    made = kept(tmp_path)
    full, half = made.own[0]
    assert full.shape == (2, 8, 34, 36) and half.shape == (2, 8, 17, 18)
    assert torch.allclose(full[0], full[1].flip(2), atol=1e-3)
    assert torch.allclose(half[0], torch.nn.functional.avg_pool2d(full[0].float(), 2).half(), atol=2e-3)
    assert set(made.destylised) == set(made.crop_embeddings) == {1}
    assert not torch.equal(made.destylised[1].full, made.own[1].full)

    def never(pixels: Tensor) -> Tensor:
        raise AssertionError("the kept latents should have been read")

    again = kept(tmp_path, encode=never)
    assert all(torch.equal(again.own[n].full, made.own[n].full) for n in range(3))
    assert torch.equal(again.destylised[1].half, made.destylised[1].half)
    assert torch.equal(again.crop_embeddings[1], made.crop_embeddings[1])
    with pytest.raises(AssertionError, match="should have been read"):
        kept(tmp_path, source="another autoencoder", encode=never)
    (tmp_path / "latents.safetensors").write_bytes(b"damaged")
    assert torch.equal(kept(tmp_path).own[2].full, made.own[2].full)


def test_destylised_paintings_have_their_size_and_are_not_themselves() -> None:
    painting, photo = smooth_pixels(64, 64, 1), smooth_pixels(96, 96, 2)
    made = [without_style(painting, photo, random.Random(seed)) for seed in range(6)]
    assert all(each.shape == painting.shape and each.abs().max() <= 1 for each in made)
    assert all(not torch.equal(each, painting) for each in made)


def numbered(number: int, size: int = 34) -> Scales:
    """Latents whose every value tells the picture and the place."""
    grid = torch.arange(size * size).view(1, 1, size, size) / 1000 + number
    full = grid.expand(2, 8, size, size).half()
    return Scales(full, full[..., ::2, ::2])


def test_what_is_shown_is_the_same_crop_of_the_content_or_has_other_colours() -> None:
    pictures = KeptLatents({n: numbered(n) for n in range(3)}, {1: numbered(1)}, {})
    recipe = dataclasses.replace(TINY, destylised_share=1.0)
    batches = LatentBatches(examples(), pictures, [0, 4, 6], recipe, random.Random(0))
    for side in (128, 256):
        batch = batches.draw(12, side)
        assert batch.latents.shape == batch.shown.shape == (12, 8, side // 8, side // 8)
        assert set(batch.indices) == {0, 1, 2}
        for latents, shown, index in zip(*batch, strict=True):
            if index == 1:  # its destylised latents are here its own
                assert torch.equal(shown, latents)
            elif index == 2:
                assert torch.allclose(shown, latents - 2, atol=5e-3)
            else:
                assert torch.equal(shown[[1, 2, 3, 5, 7]], latents[[1, 2, 3, 5, 7]])
    again = LatentBatches(examples(), pictures, [0, 4, 6], recipe, random.Random(0)).draw(12, 128)
    assert (
        again.indices == LatentBatches(examples(), pictures, [0, 4, 6], recipe, random.Random(0)).draw(12, 128).indices
    )


def test_recoloured_latents_have_the_next_ones_mean_colours() -> None:
    photos = [example(Description("photo"), n) for n in range(2)]
    pictures = KeptLatents(
        {n: Scales(*(torch.randn(2, 8, s, s).half() + 3 * n for s in (34, 17))) for n in (0, 1)}, {}, {}
    )
    batch = LatentBatches(photos, pictures, [0, 4, 6], TINY, random.Random(1)).draw(6, 256)
    means = batch.latents[:, [0, 4, 6]].mean((2, 3))
    assert torch.allclose(batch.shown[:, [0, 4, 6]].mean((2, 3)), means.roll(-1, 0), atol=1e-4)


def test_timesteps_are_drawn_where_the_methods_work_and_words_of_other_crops(tmp_path: Path) -> None:
    house = tiny_house()
    encoder, tokenizer = house.pipeline.image_encoder, house.pipeline.tokenizer
    recipe = dataclasses.replace(TINY, batch=400, other_crop_share=1.0, shown_share=0.0)
    made = kept(tmp_path)
    rows = FurtherRows(examples(), made, encoder, tokenizer, recipe, random.Random(0))
    torch.manual_seed(0)
    drawn = rows.draw(0.0, 1000, torch.device("cpu"))
    assert 0.74 < (drawn.timesteps < 700).float().mean() < 0.86 and drawn.timesteps.max() < 1000
    assert torch.equal(drawn.latents, drawn.shown)
    wanted = encoder.standardise(made.crop_embeddings[1][None])[0]
    assert any(torch.equal(one, wanted) for one in drawn.conditions.embeddings)
    own = encoder.standardise(examples()[1].embedding[None])[0]
    assert not any(torch.equal(one, own) for one in drawn.conditions.embeddings)
    assert len(rows.draw(0.9, 1000, torch.device("cpu")).latents) == 100


@pytest.mark.parametrize("recipe", [FurtherRecipe(), FastRecipe()])
def test_the_rate_rises_by_steps_and_falls_by_time(recipe: FurtherRecipe | FastRecipe) -> None:
    rates = [recipe.learning_rate_at(1000, progress) for progress in (0.0, 0.6, 0.8, 1.0)]
    assert rates[0] == pytest.approx(rates[1]) == recipe.learning_rate > rates[2] > rates[3] > 0
    assert recipe.learning_rate_at(0, 0.0) == pytest.approx(recipe.learning_rate / recipe.warmup_steps)


def test_a_run_ends_by_itself_goes_on_and_its_model_loads(shards: Path, tmp_path: Path) -> None:
    house, out = copy.copy(tiny_house()), tmp_path / "run"
    house.recommended_settings = {"guidance_scale": 2.0, "s2prest.edge_condition": 0.5}
    before = {name: value.clone() for name, value in house.unet.state_dict().items()}
    folder = train_further(house, TrainingRun(shards, out, False, Silent()), TINY)
    trained = load_backbone(str(folder), "cpu", "fp32")
    assert trained.recommended_settings == house.recommended_settings != {}
    pixels = smooth_pixels(64, 64)
    assert torch.allclose(trained.encode(pixels), house.encode(pixels), atol=2e-2)  # kept in half precision
    assert TrainingLog(out).load()["step"] == 1
    longer = dataclasses.replace(TINY, learning_rate=1e-2, warmup_steps=1)
    train_further(house, TrainingRun(shards, out, True, Silent()), longer)
    assert TrainingLog(out).load()["step"] == 2
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 1, 2, 2]
    assert all(len(line["held_out"]) == 10 for line in lines if "held_out" in line)
    assert lines[1]["held_out"] != lines[3]["held_out"]
    assert all(torch.equal(value, before[name]) for name, value in house.unet.state_dict().items())
    assert max(path.stat().st_size for path in out.rglob("*")) <= 16 * 2**20
    with pytest.raises(ModelError, match="no checkpoint"):
        train_further(house, TrainingRun(shards, tmp_path / "none", True, Silent()), TINY)


def test_ctrl_c_keeps_what_was_trained(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt_training(monkeypatch, 2)
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train_further(tiny_house(), TrainingRun(shards, out, False, Silent()), dataclasses.replace(TINY, minutes=60))
    assert TrainingLog(out).load()["step"] == 2
    monkeypatch.undo()
    train_further(tiny_house(), TrainingRun(shards, out, True, Silent()), TINY)
    assert TrainingLog(out).load()["step"] == 3


def test_a_run_replaces_neither_an_earlier_one_nor_other_files(shards: Path, tmp_path: Path) -> None:
    house, out = tiny_house(), tmp_path / "run"
    train_further(house, TrainingRun(shards, out, False, Silent()), TINY)
    kept = (out / "checkpoint.json").read_bytes()
    with pytest.raises(ModelError, match="--resume"):
        train_further(house, TrainingRun(shards, out, False, Silent()), TINY)
    assert (out / "checkpoint.json").read_bytes() == kept
    adapter = out / "house" / "fast_adapter.safetensors"
    adapter.write_text("precious")
    with pytest.raises(ModelError, match=r"fast_adapter\.safetensors"):
        train_further(house, TrainingRun(shards, out, True, Silent()), TINY)
    assert adapter.read_text() == "precious"
    (tmp_path / "other" / "house").mkdir(parents=True)
    (tmp_path / "other" / "house" / "mywork.txt").write_text("precious")
    with pytest.raises(ModelError, match=r"mywork\.txt"):
        train_further(house, TrainingRun(shards, tmp_path / "other", False, Silent()), TINY)


def test_a_checkpoint_of_another_training_is_refused(shards: Path, tmp_path: Path) -> None:
    TrainingLog(tmp_path / "fast").save({"adapter": torch.zeros(1), "step": 1})
    with pytest.raises(ModelError, match="another kind of training"):
        train_further(tiny_house(), TrainingRun(shards, tmp_path / "fast", True, Silent()), TINY)


def test_how_often_nothing_was_gained_outlasts_a_resumption(shards: Path, tmp_path: Path) -> None:
    still = dataclasses.replace(TINY, learning_rate=0.0)
    for resume in (False, True, True):
        train_further(tiny_house(), TrainingRun(shards, tmp_path / "run", resume, Silent()), still)
    assert TrainingLog(tmp_path / "run").load()["without_gain"] == 2


def test_training_stops_when_the_held_out_loss_no_longer_falls_and_keeps_the_best(shards: Path, tmp_path: Path) -> None:
    wild = dataclasses.replace(
        TINY,
        minutes=60,
        check_minutes=0,
        save_minutes=0,
        patience=1,
        learning_rate=0.1,
        warmup_steps=1,
        average_decay=0,
    )
    folder = train_further(tiny_house(), TrainingRun(shards, tmp_path / "run", False, Silent()), wild)
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    losses = [sum(line["held_out"]) for line in lines if "held_out" in line]
    assert 3 <= len(losses) < 50
    assert not min(losses) > losses[0] and not min(losses[-2:]) < min(losses)
    assert all(value.isfinite().all() for value in load_backbone(str(folder), "cpu", "fp32").unet.parameters())


def test_a_training_that_only_diverges_is_an_error(shards: Path, tmp_path: Path) -> None:
    house = copy.deepcopy(tiny_house())
    torch.nn.init.constant_(house.unet.conv_out.weight, float("nan"))
    with pytest.raises(ModelError, match="not gained"):
        train_further(house, TrainingRun(shards, tmp_path / "run", False, Silent()), TINY)
    assert not (tmp_path / "run" / "house").exists()


def test_the_command_trains_and_refuses_in_a_sentence(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    house, out, empty = tmp_path / "house", tmp_path / "out", tmp_path / "empty"
    tiny_house().pipeline.save_pretrained(house)
    empty.mkdir()
    asked = ("train-house", "further", "--model", str(house), "--out", str(out), "--minutes", "0", "--batch", "4")
    assert run_command(monkeypatch, *asked, "--shards", str(shards)) == 0
    assert (out / "house" / "model_index.json").is_file()
    assert run_command(monkeypatch, *asked, "--shards", str(empty)) == 2
    assert "no training pictures" in capsys.readouterr().err
    before = ("train-house", "--resume", *asked[1:])
    assert run_command(monkeypatch, *before, "--shards", str(shards)) == 2
    assert "--resume stands before 'further'" in capsys.readouterr().err
