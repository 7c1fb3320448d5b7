"""Training of the fast adapter: pairs and their teachers, the levels of use, a run that ends by itself and goes on."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.command_line import run as run_command
from tests.conftest import interrupt_training, smooth_image, smooth_pixels
from tests.tiny_house import random_adapter, tiny_house
from velatura.errors import ModelError
from velatura.methods.base import WorkingPicture
from velatura.methods.context import RunContext
from velatura.methods.guided.method import Guided
from velatura.models.house.backbone import HouseBackbone
from velatura.models.house.fast_adapter import DELTA, DOWN, STYLE_MAP, UP, adapted, of_rank
from velatura.models.house.fast_painter import ADAPTER_FILE, FastPainter, load_adapter
from velatura.models.loading import load
from velatura.picture import Picture, pixels_to_image
from velatura.regions import Placement, Region
from velatura.training import timed
from velatura.training.fast import making
from velatura.training.fast.losses import latent_texture
from velatura.training.fast.making import make_pairs
from velatura.training.fast.optimisation import FastOptimisation
from velatura.training.fast.pairs import Pair, PairBatches, PairRows, read_pairs, write_pairs
from velatura.training.fast.recipe import FastRecipe
from velatura.training.fast.teachers import TEACHERS
from velatura.training.fast.training import train_fast
from velatura.training.training_log import TrainingLog

TINY = FastRecipe(minutes=0, rows=3, side=64, rank=2, saved_rank=1, log_steps=1, warmup_steps=1)


def rows(count: int, side: int = 8) -> PairRows:
    torch.manual_seed(count)
    return PairRows(torch.randn(count, 8, side, side), torch.randn(count, 8, side, side), torch.randn(count, 100))


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Two files of two pairs: the whole of one is kept out of training."""
    for number in (2, 3):
        write_pairs(tmp_path / "pairs", [Pair(*each) for each in zip(*rows(number, 16), strict=True)], tiny_house())
    return tmp_path / "pairs"


def test_pairs_are_read_as_they_were_written_and_of_their_model_only(tmp_path: Path) -> None:
    house, written = tiny_house(), [Pair(*each) for each in zip(*rows(2), strict=True)]
    path = write_pairs(tmp_path, written, house)
    for pair, made in zip(read_pairs(path, house), written, strict=True):
        assert torch.equal(pair.content, made.content.half()) and torch.equal(pair.target, made.target.half())
        assert torch.equal(pair.vector, made.vector)
    other = HouseBackbone(house.pipeline, "other", house.device, house.dtype)
    other.fingerprint = "another"
    with pytest.raises(ModelError, match="of another model"):
        list(read_pairs(path, other))
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ModelError, match="no whole file of pairs"):
        list(read_pairs(path, house))


def test_one_file_is_kept_out_and_new_ones_are_taken_up(pairs: Path) -> None:
    house = tiny_house()
    batches = PairBatches([pairs], house, random.Random(0))
    [kept] = batches.pairs.values()
    assert sorted([len(batches.held_out), len(kept)]) == [2, 3]
    drawn = batches.draw(20, 64)
    assert drawn.contents.shape == drawn.targets.shape == (20, 8, 8, 8) and drawn.vectors.shape == (20, 100)
    # Both crops of a pair are of one place.
    for content, target, vector in zip(*drawn, strict=True):
        [pair] = [pair for pair in kept if torch.equal(pair.vector, vector)]
        places = [
            (top, left)
            for top in range(9)
            for left in range(9)
            if torch.equal(pair.content[:, top : top + 8, left : left + 8].float(), content)
        ]
        assert len(places) == 1
        top, left = places[0]
        assert torch.equal(pair.target[:, top : top + 8, left : left + 8].float(), target)
    held = batches.held_out_rows()
    assert not any(torch.equal(one, other) for one in drawn.vectors for other in held.vectors)
    before = len(kept)
    write_pairs(pairs, [Pair(*each) for each in zip(*rows(4, 16), strict=True)], house)
    batches.refresh()
    assert len(kept) == before + 4 and len(batches.held_out_rows().contents) == len(held.contents)
    with pytest.raises(ModelError, match="two files of pairs"):
        PairBatches([pairs / "none"], house, random.Random(0))


def test_the_same_file_is_kept_out_when_others_have_come_before_it(pairs: Path) -> None:
    batches = PairBatches([pairs], tiny_house(), random.Random(0))
    earlier = write_pairs(pairs, [Pair(*each) for each in zip(*rows(4, 16), strict=True)], tiny_house())
    earlier.rename(pairs / "pairs-.safetensors")
    again = PairBatches([pairs], tiny_house(), random.Random(0), batches.held_out_file)
    anew = PairBatches([pairs], tiny_house(), random.Random(0))
    kept, first = again.held_out_rows(), batches.held_out_rows()
    assert again.held_out_file == batches.held_out_file != anew.held_out_file
    assert torch.equal(kept.vectors, first.vectors)
    assert not any(torch.equal(pair.vector, one) for pair in again.pairs[pairs] for one in kept.vectors)


def test_each_folder_gives_as_many_rows_however_many_pairs_it_has(pairs: Path, tmp_path: Path) -> None:
    for seed in range(8):
        write_pairs(tmp_path / "more", [Pair(*each) for each in zip(*rows(8 + seed, 16), strict=True)], tiny_house())
    batches = PairBatches([pairs, tmp_path / "more"], tiny_house(), random.Random(0))
    vectors = torch.stack([pair.vector for pair in batches.pairs[pairs]])
    drawn = batches.draw(400, 64).vectors
    share = torch.stack([(vectors == one).all(1).any() for one in drawn]).float().mean()
    assert len(batches.pairs[tmp_path / "more"]) > 20 * len(vectors) and 0.4 < share < 0.6


def test_what_guided_paints_are_the_latents_that_it_decodes() -> None:
    method = Guided(size=64, steps=4, sharpness=0.0, palette=0.0)
    content = Picture.of(smooth_image(64, 64, 1), "content")
    context = RunContext(tiny_house(), 3)
    region = Region(method.fit(Picture.of(smooth_image(64, 64, 2), "style"), "style", context))
    working = WorkingPicture(content, content.size, Placement.of([region], content))
    with torch.no_grad():
        decoded = tiny_house().decode(method.painted(working, context).latents)
    expected = np.asarray(method.stylize([content], [region], context)[0].picture).astype(int)
    assert np.abs(np.asarray(pixels_to_image(decoded)).astype(int) - expected).max() <= 1


def test_each_teacher_paints_its_own_and_repeats_it() -> None:
    photo, painting = smooth_pixels(64, 64, 1), smooth_pixels(64, 64, 2)
    made = {name: teacher(photo, painting, tiny_house(), 3) for name, teacher in TEACHERS.items()}
    for name, latents in made.items():
        assert latents.shape == (1, 8, 8, 8) and latents.isfinite().all() and not latents.requires_grad
        assert torch.equal(TEACHERS[name](photo, painting, tiny_house(), 3), latents)
    assert not torch.allclose(made["guided"], made["quick"]) and not torch.allclose(made["quick"], made["magenta"])


def test_pairs_are_made_for_a_time_and_added(
    pictures: tuple[list[Path], list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making, "SIDE", 64)
    house, out = tiny_house(), tmp_path / "made"

    def teacher(photo: torch.Tensor, painting: torch.Tensor, house: HouseBackbone, seed: int) -> torch.Tensor:
        return 0.5 * house.encode(photo)

    for _ in range(2):
        assert make_pairs(house, pictures, out, teacher, 0, seed=0) == 1
    made = [pair for path in out.iterdir() for pair in read_pairs(path, house)]
    assert len(made) == 2 and not torch.equal(made[0].content, made[1].content)
    assert made[0].content.shape == made[0].target.shape == (8, 8, 8)
    monkeypatch.setattr(making, "A_FILE", 1)
    monkeypatch.setattr(timed.time, "monotonic", iter(range(0, 1000, 20)).__next__)
    assert make_pairs(house, pictures, out, teacher, 1, 2) == 3
    assert len(list(out.iterdir())) == 5


def test_latent_texture_sees_strokes_and_not_where_they_are() -> None:
    torch.manual_seed(0)
    wanted = torch.randn(2, 8, 16, 16)
    moved, blurred = wanted.roll(8, 3), torch.nn.functional.avg_pool2d(wanted, 3, 1, 1)
    assert latent_texture(wanted, wanted) == 0
    assert latent_texture(moved, wanted) < 0.1 * latent_texture(blurred, wanted)
    assert torch.nn.functional.mse_loss(moved, wanted) > torch.nn.functional.mse_loss(blurred, wanted)


def test_an_adapter_is_cut_to_its_largest_singular_values_or_gets_more_that_change_nothing() -> None:
    torch.manual_seed(0)
    up = torch.randn(200, 6) * torch.tensor([10.0, 10.0, 10.0, 1e-4, 1e-4, 1e-4])
    adapter = {"large.weight" + UP: up, "large.weight" + DOWN: torch.randn(6, 150), "bias" + DELTA: torch.randn(8)}
    product = adapter["large.weight" + UP] @ adapter["large.weight" + DOWN]
    for rank, kept in ((3, 3), (6, 6), (48, 48), (500, 150)):
        changed = of_rank(adapter, rank)
        assert changed["large.weight" + UP].shape == (200, kept)
        assert changed["large.weight" + DOWN].shape == (kept, 150)
        assert torch.equal(changed["bias" + DELTA], adapter["bias" + DELTA])
        assert torch.allclose(changed["large.weight" + UP] @ changed["large.weight" + DOWN], product, atol=0.01)
        assert changed["large.weight" + DOWN].norm(dim=1).min() > 0


def test_later_calls_are_noised_from_the_networks_own_estimate() -> None:
    optimisation = FastOptimisation(tiny_house(), dataclasses.replace(TINY, first_share=0.0, later_calls=(1, 1)))
    weights = adapted(optimisation.weights, optimisation.adapter)
    contents = torch.randn(2, 8, 8, 8)
    style = tiny_house().painted_style(torch.zeros(2, 100))
    noisy, levels = optimisation._as_at_use(weights, contents, (style.states, style.vector))
    assert levels.tolist() == [1, 1] and (noisy - contents).abs().mean() > 0.2
    first = FastOptimisation(tiny_house(), dataclasses.replace(TINY, first_share=1.0, first_call=(1, 1)))
    noisy, levels = first._as_at_use(weights, contents, (style.states, style.vector))
    assert levels.tolist() == [1, 1] and (noisy - contents).abs().mean() < 0.1


def test_a_training_starts_from_the_models_own_adapter_or_from_none() -> None:
    house = tiny_house()
    fresh = FastOptimisation(house, TINY)
    changed = adapted(fresh.weights, fresh.adapter)
    # The first layer of the style vector's map is random, the second zero.
    assert all(torch.equal(changed[name], own) or STYLE_MAP in name for name, own in fresh.weights.items())
    brings = HouseBackbone(house.pipeline, "tiny", house.device, house.dtype)
    own = random_adapter(house.unet)
    brings.fast_adapter = own
    started = FastOptimisation(brings, dataclasses.replace(TINY, rank=3))
    expected = adapted(started.weights, own)
    for name, value in adapted(started.weights, started.adapter).items():
        assert torch.allclose(value, expected[name], atol=1e-5)


def test_steps_bring_the_student_nearer_to_its_targets_and_move_the_adapter_only() -> None:
    torch.manual_seed(0)
    house = tiny_house()
    optimisation = FastOptimisation(house, dataclasses.replace(TINY, average_decay=0.0))
    before = {name: value.detach().clone() for name, value in optimisation.adapter.items()}
    weights = {name: value.clone() for name, value in house.unet.state_dict().items()}
    given = rows(3)
    start = optimisation.check(given)["held_out"]
    for _ in range(8):
        optimisation.step(given, 3e-3)
    assert optimisation.check(given)["held_out"] < start
    assert any(not torch.equal(value, before[name]) for name, value in optimisation.adapter.items())
    assert all(torch.equal(value, weights[name]) for name, value in house.unet.state_dict().items())
    assert optimisation.take().keys() == {"place", "texture", "norm"} and optimisation.take() == {}


def test_a_training_ends_by_itself_and_goes_on(pairs: Path, tmp_path: Path) -> None:
    house, out = tiny_house(), tmp_path / "run"
    path = train_fast(house, [pairs], out, TINY, resume=False)
    adapter = load_adapter(path, house.fingerprint)
    assert max(value.shape[0] for name, value in adapter.items() if name.endswith(DOWN)) == TINY.saved_rank
    FastPainter(house.unet, adapter, house.device, house.dtype)
    assert TrainingLog(out).load()["step"] == 1
    train_fast(house, [pairs], out, TINY, resume=True)
    assert TrainingLog(out).load()["step"] == 2
    assert len((out / "log.jsonl").read_text().splitlines()) == 4
    with pytest.raises(ModelError, match="no checkpoint"):
        train_fast(house, [pairs], tmp_path / "none", TINY, resume=True)


def test_ctrl_c_keeps_what_was_trained(pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt_training(monkeypatch, 3)
    with pytest.raises(KeyboardInterrupt):
        train_fast(tiny_house(), [pairs], tmp_path / "run", dataclasses.replace(TINY, minutes=60), resume=False)
    kept = TrainingLog(tmp_path / "run").load()
    assert kept["step"] == 3 and kept["held_out"]


def test_the_commands_make_pairs_train_and_refuse_in_a_sentence(
    pictures: tuple[list[Path], list[Path]],
    pairs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(load, "load_backbone", lambda *_: tiny_house())
    monkeypatch.setattr(making, "SIDE", 64)
    monkeypatch.setattr(
        "velatura.training.fast.recipe.FastRecipe", lambda minutes, seed: dataclasses.replace(TINY, seed=seed)
    )
    photos, paintings = (str(paths[0].parent) for paths in pictures)
    asked = ("train-house", "pairs", "--photos", photos, "--paintings", paintings, "--out", str(pairs))
    before = len(list(pairs.iterdir()))
    assert run_command(monkeypatch, *asked, "--minutes", "0", "--teacher", "magenta") == 0
    assert len(list(pairs.iterdir())) == before + 1
    training = ("train-house", "fast", "--pairs", str(pairs), "--out", str(tmp_path / "r"), "--minutes", "0")
    assert run_command(monkeypatch, *training) == 0
    assert (tmp_path / "r" / ADAPTER_FILE).is_file()
    capsys.readouterr()
    assert run_command(monkeypatch, *asked, "--teacher", "rembrandt") == 2
    assert "no teacher rembrandt: take one of magenta" in capsys.readouterr().err
    assert run_command(monkeypatch, "train-house", "pairs") == 2
    assert "need --photos" in capsys.readouterr().err
    assert run_command(monkeypatch, "train-house", "fast") == 2
    assert "needs --pairs" in capsys.readouterr().err
