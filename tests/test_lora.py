"""LoRA files in the key layouts of their trainers, against diffusers' and peft's own loaders."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from tests.test_parity import PARITY
from tests.tiny_house import tiny_house
from velatura.app.imports import imported_lora
from velatura.errors import StyleError
from velatura.models.loading.unet_shapes import unet_shapes
from velatura.models.lora import attached, using, weight_shapes
from velatura.models.lora_files import read_lora, save_lora

TINY = PARITY / "diffstyler" / "tiny"
DOWN, UP = ".lora_A.weight", ".lora_B.weight"
KINDS = (".to_q", ".to_k", ".to_v", ".to_out.0")
MORE_KINDS = (*KINDS, ".proj_in", ".proj_out", ".ff.net.0.proj", ".ff.net.2", ".conv1", ".time_emb_proj")


def built() -> StableDiffusionPipeline:
    """A Stable Diffusion of random weights with the module names of the real one."""
    torch.manual_seed(0)
    text = CLIPTextConfig(
        vocab_size=600, hidden_size=32, intermediate_size=37, num_hidden_layers=1, num_attention_heads=4
    )
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=32,
        attention_head_dim=4,
        norm_num_groups=8,
    )
    return StableDiffusionPipeline(
        AutoencoderKL(block_out_channels=(8,), norm_num_groups=4),
        CLIPTextModel(text),
        tiny_house().tokenizer,
        unet,
        DDIMScheduler(),
        None,
        None,
        requires_safety_checker=False,
    )


@pytest.fixture(
    params=["built", pytest.param("tiny", marks=pytest.mark.skipif(not TINY.is_dir(), reason=f"{TINY} is not here"))]
)
def pipeline(request: pytest.FixtureRequest) -> StableDiffusionPipeline:
    if request.param == "built":
        return built()
    return StableDiffusionPipeline.from_pretrained(TINY, safety_checker=None, feature_extractor=None)


def adapter(unet: Any, kinds: tuple[str, ...], rank: Callable[[int], int]) -> dict[str, Tensor]:
    """Random matrices for the modules whose names end in ``kinds``."""
    generator, state = torch.Generator().manual_seed(1), {}
    modules = {name: shape for name, shape in weight_shapes(unet).items() if name.endswith(kinds)}
    for index, (name, shape) in enumerate(modules.items()):
        state[name + DOWN] = torch.randn(rank(index), *shape[1:], generator=generator) * 0.2
        state[name + UP] = torch.randn(shape[0], rank(index), *[1] * (len(shape) - 2), generator=generator) * 0.2
    return state


def modules_of(state: dict[str, Tensor]) -> list[str]:
    return [key.removesuffix(DOWN) for key in state if key.endswith(DOWN)]


def kohya(state: dict[str, Tensor], alpha: Callable[[int], float], start: str = "lora_unet_") -> dict[str, Tensor]:
    file: dict[str, Tensor] = {}
    for index, module in enumerate(modules_of(state)):
        name = start + module.replace(".", "_")
        file[f"{name}.lora_down.weight"], file[f"{name}.lora_up.weight"] = state[module + DOWN], state[module + UP]
        file[f"{name}.alpha"] = torch.tensor(alpha(index))
    return file


def text_part() -> dict[str, Tensor]:
    module = "text_model.encoder.layers.0.self_attn.q_proj"
    state = {module + DOWN: torch.randn(4, 32), module + UP: torch.randn(32, 4)}
    return kohya(state, lambda _: 4.0, "lora_te_")


@torch.no_grad()
def output(unet: Any) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(1, 4, 8, 8, generator=generator)
    states = torch.randn(1, 7, unet.config.cross_attention_dim, generator=generator)
    result: Tensor = unet(x, 500, encoder_hidden_states=states).sample
    return result


def ours(unet: Any, path: Path) -> Tensor:
    with attached(unet, {"file": read_lora(path)}), using(unet, "file"):
        return output(unet)


def theirs(pipeline: StableDiffusionPipeline, path: Path) -> Tensor:
    """The output under the LoRA as diffusers loads it."""
    pipeline.load_lora_weights(str(path.parent), weight_name=path.name)
    try:
        return output(pipeline.unet)
    finally:
        pipeline.unload_lora_weights()


@torch.no_grad()
def merged(unet: Any, state: dict[str, Tensor], factor: Callable[[int], float]) -> Tensor:
    """The output with the products of matrices added to the weights."""
    modules = dict(unet.named_modules())
    before = {name: modules[name].weight.clone() for name in modules_of(state)}
    for index, name in enumerate(before):
        down, up = state[name + DOWN], state[name + UP]
        product = (up.flatten(1) @ down.flatten(1)).reshape(before[name].shape)
        modules[name].weight += factor(index) * product
    result = output(unet)
    for name, weight in before.items():
        modules[name].weight.copy_(weight)
    return result


def assert_same(one: Tensor, other: Tensor, plain: Tensor) -> None:
    assert (one - other).abs().max() < 1e-5 * other.abs().max() + 1e-6
    assert (one - plain).abs().max() > 1e-3, "the LoRA does not act"


def test_kohya(pipeline: StableDiffusionPipeline, tmp_path: Path) -> None:
    path = tmp_path / "kohya.safetensors"
    state = adapter(pipeline.unet, KINDS, lambda _: 8)
    save_file(kohya(state, lambda _: 2.0), path)
    plain, loaded = output(pipeline.unet), ours(pipeline.unet, path)
    assert_same(loaded, theirs(pipeline, path), plain)
    assert_same(loaded, merged(pipeline.unet, state, lambda _: 0.25), plain)


def test_kohya_of_mixed_ranks_alphas_and_layers(pipeline: StableDiffusionPipeline, tmp_path: Path) -> None:
    path = tmp_path / "kohya.safetensors"
    rank: Callable[[int], int] = lambda index: (2, 4, 8)[index % 3]  # noqa: E731
    alpha: Callable[[int], float] = lambda index: (1.0, 4.0)[index % 2]  # noqa: E731
    state = adapter(pipeline.unet, MORE_KINDS, rank)
    save_file(kohya(state, alpha), path)
    wanted = merged(pipeline.unet, state, lambda index: alpha(index) / rank(index))
    assert_same(ours(pipeline.unet, path), wanted, output(pipeline.unet))


def test_diffusers_attention_processors_of_mixed_ranks(pipeline: StableDiffusionPipeline, tmp_path: Path) -> None:
    path, file = tmp_path / "processors.safetensors", {}
    state = adapter(pipeline.unet, KINDS, lambda index: (4, 8)[index % 4 > 1])
    for module in modules_of(state):
        parent, _, projection = module.removesuffix(".0").rpartition(".")
        for side, end in (("down", DOWN), ("up", UP)):
            file[f"unet.{parent}.processor.{projection}_lora.{side}.weight"] = state[module + end]
    save_file(file, path)
    loaded = ours(pipeline.unet, path)
    assert_same(loaded, theirs(pipeline, path), output(pipeline.unet))


CONFIG = {
    "r": 4,
    "lora_alpha": 2,
    "target_modules": ["to_q", "to_k", "to_v", "to_out.0"],
    "init_lora_weights": False,
    "rank_pattern": {"to_k": 8, "mid_block.attentions.0.transformer_blocks.0.attn1.to_q": 2},
    "alpha_pattern": {"to_k": 12, "to_out.0": 16},
}


@pytest.mark.parametrize("rooted", [False, True])
def test_diffusers_files_with_patterns_in_their_header(
    rooted: bool, pipeline: StableDiffusionPipeline, tmp_path: Path
) -> None:
    unet, plain = pipeline.unet, output(pipeline.unet)
    unet.add_adapter(LoraConfig(**CONFIG, use_rslora=rooted))
    pipeline.save_lora_weights(
        tmp_path,
        unet_lora_layers=get_peft_model_state_dict(unet),
        unet_lora_adapter_metadata=unet.peft_config["default"].to_dict(),
    )
    trained = output(unet)
    unet.unload_lora()
    path = tmp_path / "pytorch_lora_weights.safetensors"
    loaded = ours(unet, path)
    assert_same(loaded, trained, plain)
    assert_same(loaded, theirs(pipeline, path), plain)


def test_diffusers_files_without_a_header_have_the_rank_as_alpha(
    pipeline: StableDiffusionPipeline, tmp_path: Path
) -> None:
    path = tmp_path / "bare.safetensors"
    state = adapter(pipeline.unet, MORE_KINDS, lambda _: 4)
    save_file({f"unet.{key}": value for key, value in state.items()}, path)
    assert_same(ours(pipeline.unet, path), theirs(pipeline, path), output(pipeline.unet))


def test_peft(pipeline: StableDiffusionPipeline, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    plain = output(pipeline.unet)
    wrapped = get_peft_model(pipeline.unet, LoraConfig(**CONFIG))
    wrapped.save_pretrained(tmp_path)
    trained = output(wrapped)
    unet = wrapped.unload()
    path = tmp_path / "adapter_model.safetensors"
    assert next(iter(load_file(path))).startswith("base_model.model.")
    assert_same(ours(unet, path), trained, plain)
    (tmp_path / "adapter_config.json").unlink()
    with caplog.at_level(logging.WARNING):
        read_lora(path)
    assert "no adapter_config.json" in caplog.text


def test_the_published_trainers_file_on_the_recorded_checkpoint(tmp_path: Path) -> None:
    path = PARITY / "diffstyler/lora/lora_deer_c1.safetensors"
    if not path.is_file():
        pytest.skip(f"{path} is not here")
    recorded = StableDiffusionPipeline.from_pretrained(TINY, safety_checker=None, feature_extractor=None)
    loaded = ours(recorded.unet, path)
    assert_same(loaded, theirs(recorded, path), output(recorded.unet))


def test_what_is_for_the_text_encoder_is_left_out_aloud(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    unet = built().unet
    state = adapter(unet, KINDS, lambda _: 4)
    save_file(kohya(state, lambda _: 4.0) | text_part(), tmp_path / "both.safetensors")
    with caplog.at_level(logging.WARNING):
        read = read_lora(tmp_path / "both.safetensors")
    assert set(read) == set(state)
    assert "also holds 3 entries for a text encoder, which are left out" in caplog.text
    save_file(text_part(), tmp_path / "text.safetensors")
    with pytest.raises(StyleError, match="no LoRA of a UNet"):
        read_lora(tmp_path / "text.safetensors")


def test_sdxl_of_kohya_has_its_blocks_where_diffusers_has_them(tmp_path: Path) -> None:
    names = {
        "input_blocks_4_1_transformer_blocks_0_attn1_to_q": ("down", 1, "0.transformer_blocks.0.attn1.to_q"),
        "middle_block_1_transformer_blocks_3_attn2_to_k": ("mid", None, "0.transformer_blocks.3.attn2.to_k"),
        "output_blocks_2_1_transformer_blocks_0_attn1_to_out_0": ("up", 0, "2.transformer_blocks.0.attn1.to_out.0"),
    }
    file = {}
    for name in names:
        file[f"lora_unet_{name}.lora_down.weight"] = torch.randn(4, 32)
        file[f"lora_unet_{name}.lora_up.weight"] = torch.randn(32, 4)
    save_file(file, tmp_path / "xl.safetensors")
    wanted = {
        f"{part}_block{'' if number is None else f's.{number}'}.attentions.{module}"
        for part, number, module in names.values()
    }
    assert set(modules_of(read_lora(tmp_path / "xl.safetensors"))) == wanted


@pytest.mark.parametrize("layout", ["kohya", "diffusers"])
@pytest.mark.parametrize("other", ["dora_scale", "hada_w1_a", "lora_mid.weight", "lora_B.bias"])
def test_what_would_act_in_part_only_is_refused(layout: str, other: str, tmp_path: Path) -> None:
    state = adapter(built().unet, KINDS, lambda _: 4)
    module = modules_of(state)[0]
    file = kohya(state, lambda _: 4.0) if layout == "kohya" else {f"unet.{key}": state[key] for key in state}
    name = f"lora_unet_{module.replace('.', '_')}" if layout == "kohya" else f"unet.{module}"
    save_file(file | {f"{name}.{other}": torch.ones(4, 4)}, tmp_path / "dora.safetensors")
    with pytest.raises(StyleError, match="no plain LoRA's"):
        read_lora(tmp_path / "dora.safetensors")


@pytest.mark.parametrize("layout", ["kohya", "diffusers"])
def test_a_matrix_without_its_other_is_refused(layout: str, tmp_path: Path) -> None:
    state = adapter(built().unet, KINDS, lambda _: 4)
    file = kohya(state, lambda _: 4.0) if layout == "kohya" else {f"unet.{key}": state[key] for key in state}
    del file[next(key for key in file if key.endswith(("lora_up.weight", UP)))]
    save_file(file, tmp_path / "half.safetensors")
    with pytest.raises(StyleError, match="lacks a matrix"):
        read_lora(tmp_path / "half.safetensors")


@pytest.mark.parametrize(
    "header", ["no json", '{"unet.lora_alpha": "much"}', '{"unet.alpha_pattern": {"a+": 1}}', "[]"]
)
def test_a_header_that_cannot_be_read_is_one_sentence(header: str, tmp_path: Path) -> None:
    state = adapter(built().unet, KINDS, lambda _: 4)
    file = {f"unet.{key}": value for key, value in state.items()}
    save_file(file, tmp_path / "odd.safetensors", {"lora_adapter_metadata": header})
    with pytest.raises(StyleError, match=r"alphas of .* cannot be read"):
        read_lora(tmp_path / "odd.safetensors")


def test_an_exported_lora_of_mixed_ranks_acts_the_same_in_diffusers(tmp_path: Path) -> None:
    made = built()
    state = adapter(made.unet, MORE_KINDS, lambda index: (2, 4)[index % 2])
    save_lora(state, tmp_path / "out.safetensors")
    loaded = theirs(made, tmp_path / "out.safetensors")
    assert_same(loaded, merged(made.unet, state, lambda _: 1.0), output(made.unet))


def test_the_base_model_is_checked_when_a_lora_is_imported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = built()
    made.save_pretrained(tmp_path / "model")
    assert unet_shapes(str(tmp_path / "model")) == weight_shapes(made.unet)
    path = tmp_path / "brush.safetensors"
    save_file({f"unet.{key}": value for key, value in adapter(made.unet, KINDS, lambda _: 4).items()}, path)
    style = imported_lora(path, "brush", "a painting", str(tmp_path / "model"))
    assert style.card["prompt"] == "a painting"
    with pytest.raises(StyleError, match="LoRA of the style 'brush' does not fit the model house"):
        imported_lora(path, "brush", "a painting", "house")
    with caplog.at_level(logging.WARNING):
        imported_lora(path, "brush", "a painting", "someone/not-downloaded")
    assert "checked when it is used" in caplog.text


def test_kohyas_alpha_is_in_the_matrices_whatever_the_header_says(tmp_path: Path) -> None:
    state = adapter(built().unet, KINDS, lambda _: 16)
    save_file(
        kohya(state, lambda _: 4.0), tmp_path / "k.safetensors", {"ss_network_alpha": "16", "ss_network_dim": "16"}
    )
    read = read_lora(tmp_path / "k.safetensors")
    module = modules_of(state)[0]
    assert torch.allclose(read[module + UP], state[module + UP] / 4)
