"""The recipe of the house model, in miniature: shards, captions, batches, a whole run, a resumed run."""

from __future__ import annotations

import dataclasses
import io
import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import smooth_image, smooth_pixels
from velatura.errors import ModelError, PictureError, SettingError
from velatura.evaluation import colour_distance, edge_f1, psnr
from velatura.models.house.autoencoder import HouseAutoencoder
from velatura.models.house.image_encoder import EMBEDDING
from velatura.models.loading.load import load_backbone
from velatura.models.noise_schedule import add_noise_each
from velatura.progress import Silent
from velatura.training.autoencoder import (
    AutoencoderRecipe,
    DeeperRecipe,
    Tether,
    deepened,
    train_autoencoder,
    train_deeper,
)
from velatura.training.batches import Batch, Batches
from velatura.training.captions import Description, caption, describe_painting, describe_photo
from velatura.training.denoiser import DenoiserRecipe
from velatura.training.denoiser_training import train_denoiser
from velatura.training.pack import Sources, pack, shuffled
from velatura.training.recolouring import recoloured, recolouring_noise
from velatura.training.shards import Example, read_shards, write_shards
from velatura.training.training_log import TrainingRun

TINY = DenoiserRecipe(
    small_steps=2,
    large_steps=1,
    small_batch=2,
    large_batch=1,
    widths=(32, 64),
    word_width=32,
    text_layers=1,
    every=1,
    warmup_steps=1,
)


def example(description: Description, seed: int) -> Example:
    buffer = io.BytesIO()
    smooth_image(280, 300, seed).save(buffer, "WEBP")
    return Example(buffer.getvalue(), description, torch.randn(EMBEDDING))


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    kinds = (Description("photo", "dog"), Description("painting", style="cubism"), Description("painted", "cat"))
    write_shards([example(kinds[i % 3], i) for i in range(6)], tmp_path / "shards", "train")
    return tmp_path / "shards"


def test_file_names_become_descriptions() -> None:
    assert describe_photo(Path("faces-easy__image-0197-5c9281.webp")).subject == "faces easy"
    assert describe_photo(Path("n02091635-otterhound-06df0b.webp")).subject == "otterhound"
    assert describe_photo(Path("n02444819-7927-otter-eacb4a.webp")).subject == "otter"
    assert describe_photo(Path("c663670c06c06ea4-e7dc30.webp")).subject == ""
    painting = describe_painting(Path("cubism__juan-gris__juan-gris-still-life-123456.webp"))
    assert (painting.style, painting.artist) == ("cubism", "juan gris")
    assert describe_painting(Path("unknown__unknown__169full-039e47.webp")) == Description("painting")


def test_captions_have_the_recipes_forms() -> None:
    chance = random.Random(0)
    assert caption(Description("photo", "owl"), False, chance) == "a photo of an owl"
    assert caption(Description("painted", "dog"), True, chance) == "a painting of a dog in the style of *"
    assert caption(Description("painting", style="cubism"), True, chance) == "a cubism painting in the style of *"
    assert caption(Description("photo"), False, chance) == "a photo"


def test_shards_round_trip(shards: Path) -> None:
    examples = read_shards(shards, "train")
    assert [e.description.kind for e in examples] == ["photo", "painting", "painted"] * 2
    assert examples[0].pixels().shape == (280, 300, 3)
    assert examples[0].embedding.shape == (EMBEDDING,)
    assert read_shards(shards, "heldout") == []


def test_a_foreign_safetensors_file_is_no_shard(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(1)}, tmp_path / "train-00.safetensors")
    with pytest.raises(PictureError, match="not a shard"):
        read_shards(tmp_path, "train")


def test_batches_are_seeded_and_in_range(shards: Path) -> None:
    examples = read_shards(shards, "train")
    first, second = (Batches(examples, seed=3).draw(4, 128) for _ in range(2))
    assert torch.equal(first[0], second[0]) and first[1] == second[1]
    assert first[0].shape == (4, 3, 128, 128)
    assert first[0].min() >= -1 and first[0].max() <= 1
    assert Batches(examples, seed=4).draw(4, 256)[0].shape == (4, 3, 256, 256)


def test_a_painted_picture_comes_with_the_same_crop_of_the_photo_beneath(shards: Path, tmp_path: Path) -> None:
    photo, painting, painted = read_shards(shards, "train")[:3]
    painted = dataclasses.replace(painted, beneath=0)
    write_shards([photo, painting, painted], tmp_path / "linked", "train")
    examples = read_shards(tmp_path / "linked", "train")
    assert [example.beneath for example in examples] == [None, None, 0]
    # The painted picture is here the photo itself: whatever is cropped and flipped, both must be alike.
    twin = dataclasses.replace(examples[2], picture=photo.picture)
    batch = Batches([*examples[:2], twin], seed=1).draw(12, 128)
    assert torch.equal(batch.pixels, batch.beneath)
    other = Batches(examples, seed=1).draw(12, 128)
    differ = (other.pixels != other.beneath).flatten(1).any(1)
    assert differ.tolist() == [number == 2 for number in other.indices] and differ.any()


def test_shuffled_pictures_still_know_the_photo_beneath() -> None:
    def numbered(number: int, beneath: int | None) -> Example:
        return Example(bytes([number]), Description("photo"), torch.zeros(1), beneath)

    moved = shuffled([numbered(i, i - 5 if i >= 5 else None) for i in range(10)], random.Random(0))
    assert [one.picture for one in moved] != [bytes([i]) for i in range(10)]
    for one in moved:
        if one.beneath is not None:
            assert moved[one.beneath].picture[0] == one.picture[0] - 5


def test_a_recoloured_picture_is_the_photo_beneath_or_has_its_neighbours_colours() -> None:
    first, second, photo = (smooth_pixels(64, 64, seed) for seed in range(3))
    painted = -photo
    batch = Batch(torch.cat([first, second, painted]), [0, 1, 2], torch.cat([first, second, photo]))
    shown = torch.cat([recoloured(batch, number) for number in range(3)])
    assert torch.equal(shown[2:], photo)
    assert colour_distance(shown[:1], second) < 0.3 * colour_distance(first, second)
    assert edge_f1(shown[:1], first) > edge_f1(shown[:1], second)


def test_recolouring_noise_shows_other_colours_in_noise_and_the_picture_without() -> None:
    latents, other, noise = (torch.randn(2, 8, 4, 4) for _ in range(3))
    abars = torch.tensor([0.999999, 0.2])
    shifted = recolouring_noise(noise, latents, other, abars)
    noisy = add_noise_each(latents, shifted, abars.tolist())
    plain = add_noise_each(latents, noise, abars.tolist())
    assert torch.allclose(noisy[0], plain[0], atol=1e-2)
    expected = plain[1] + (0.2**0.5) * (0.8**0.5) * (other[1] - latents[1])
    assert torch.allclose(noisy[1], expected, atol=1e-5)
    assert torch.equal(recolouring_noise(noise, latents, latents, abars), noise)


def test_learning_rate_rises_stays_and_falls() -> None:
    recipe = DenoiserRecipe(small_steps=60, large_steps=40, warmup_steps=10, learning_rate=1.0)
    assert recipe.learning_rate_at(0) == pytest.approx(0.1)
    assert recipe.learning_rate_at(30) == 1.0
    assert recipe.learning_rate_at(80) == pytest.approx(0.5)


def test_a_tiny_run_makes_a_folder_that_the_backbone_loads_and_resumes(shards: Path, tmp_path: Path) -> None:
    run, vae = tmp_path / "run", HouseAutoencoder(block_out_channels=(8, 8, 8, 8), decoder_blocks=1, encoder_blocks=1)
    train_denoiser(vae, TrainingRun(shards, run, False, Silent()), TINY)
    backbone = load_backbone(str(run / "house"), device="cpu", dtype="fp32")
    pixels = torch.zeros(1, 3, 64, 64)
    latents = backbone.encode(pixels)
    assert latents.shape == (1, 8, 8, 8)
    noise = backbone.predict(latents, 500, backbone.encode_prompt(["a photo of a dog"])).noise
    assert noise.shape == latents.shape and noise.isfinite().all()
    assert max(file.stat().st_size for file in (run / "house").rglob("*")) <= 16 * 2**20

    longer = dataclasses.replace(TINY, large_steps=2)
    train_denoiser(vae, TrainingRun(shards, run, True, Silent()), longer)
    steps = [json.loads(line)["step"] for line in (run / "log.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3, 4]


def test_a_tiny_autoencoder_run_saves_a_working_model_and_resumes(shards: Path, tmp_path: Path) -> None:
    recipe = AutoencoderRecipe(steps=3, batch=2, every=1)
    vae = train_autoencoder(TrainingRun(shards, tmp_path / "ae", False, Silent()), recipe)
    again = HouseAutoencoder.from_pretrained(tmp_path / "ae" / "vae")
    pixels = smooth_pixels(64, 64)
    with torch.no_grad():
        restored = again.decode(again.encode(pixels).latent_dist.mode()).sample
    assert psnr(restored, pixels) > 20
    assert again.config.scaling_factor == vae.config.scaling_factor != 1
    train_autoencoder(TrainingRun(shards, tmp_path / "ae", True, Silent()), recipe)
    assert len((tmp_path / "ae" / "log.jsonl").read_text().splitlines()) == 3


def test_a_deeper_autoencoder_begins_as_the_same_function_and_learns(shards: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    vae, pixels = HouseAutoencoder(), smooth_pixels(64, 64)
    for parameter in [*vae.encoder.parameters(), *vae.decoder.parameters()]:
        torch.nn.init.normal_(parameter, std=0.02)
    with torch.no_grad():
        latents = vae.encode(pixels).latent_dist.mode()
        deeper = deepened(vae, 1, 2)
        assert torch.equal(deeper.encode(pixels).latent_dist.mode(), latents)
        assert torch.equal(deeper.decode(latents).sample, vae.decode(latents).sample)
    recipe = DeeperRecipe(steps=2, batch=2, every=1, more_encoder_blocks=1, more_decoder_blocks=2)
    train_deeper(vae, TrainingRun(shards, tmp_path / "deeper", False, Silent()), recipe)
    again = HouseAutoencoder.from_pretrained(tmp_path / "deeper" / "vae")
    with torch.no_grad():
        assert not torch.equal(again.encode(pixels).latent_dist.mode(), latents)
        assert not torch.equal(again.decode(latents).sample, vae.decode(latents).sample)
    config = (again.config.encoder_blocks, again.config.decoder_blocks)
    assert config == (vae.config.encoder_blocks + 1, vae.config.decoder_blocks + 2)
    assert again.config.scaling_factor == vae.config.scaling_factor


def test_a_tether_is_the_latents_distance_from_the_finished_ones() -> None:
    vae, pixels = HouseAutoencoder(), smooth_pixels(64, 64)
    with torch.no_grad():
        latents = vae.encode(pixels).latent_dist.mode()
    tether = Tether(vae, 3.0)
    assert tether(latents, pixels) == 0
    assert tether(latents + 0.5, pixels).item() == pytest.approx(0.75, rel=1e-5)


def test_resuming_nothing_is_refused(shards: Path, tmp_path: Path) -> None:
    run = TrainingRun(shards, tmp_path / "none", True, Silent())
    with pytest.raises(ModelError, match="no checkpoint"):
        train_autoencoder(run, AutoencoderRecipe())
    with pytest.raises(ModelError, match="no tokenizer"):
        train_denoiser(HouseAutoencoder(), run, TINY)


def test_a_damaged_shard_is_named(shards: Path) -> None:
    path = shards / "train-00.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(PictureError, match=r"train-00\.safetensors is damaged"):
        read_shards(shards, "train")


def test_packing_replaces_no_shards_and_names_what_is_no_picture(shards: Path, tmp_path: Path) -> None:
    before = {path.name: path.read_bytes() for path in shards.iterdir()}
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "a.jpg").write_text("no")
    odd = Sources([tmp_path / "odd"], [tmp_path / "odd"], [tmp_path / "odd"])
    with pytest.raises(SettingError, match=r"shards in .* already"):
        pack(odd, shards, 0.5, 0, Silent())
    assert {path.name: path.read_bytes() for path in shards.iterdir()} == before
    with pytest.raises(PictureError, match=r"a\.jpg"):
        pack(odd, tmp_path / "new", 0.5, 0, Silent())
    assert not (tmp_path / "new").exists()


def test_packing_opens_every_picture_and_its_folder_before_it_makes_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any) -> None:
        raise AssertionError("a picture was made")

    monkeypatch.setattr("velatura.training.pack.picture_numbers", never)
    folders = {name: tmp_path / name for name in ("photos", "paintings", "heldout")}
    for folder in folders.values():
        folder.mkdir()
        smooth_image(32, 32, 1).save(folder / "a.png")
    sources, file = Sources(*([folder] for folder in folders.values())), tmp_path / "file"
    file.write_text("a file")
    with pytest.raises(FileExistsError):
        pack(sources, file, 0.0, 0, Silent())
    with pytest.raises(PictureError, match="nowhere is no folder"):
        pack(Sources([tmp_path / "nowhere"], [folders["paintings"]]), tmp_path / "new", 0.0, 0, Silent())
    (folders["heldout"] / "z.webp").write_text("no")
    with pytest.raises(PictureError, match=r"z\.webp"):
        pack(sources, tmp_path / "new", 0.0, 0, Silent())
    assert not (tmp_path / "new").exists()
