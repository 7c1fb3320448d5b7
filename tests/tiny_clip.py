"""The tiny CLIP of the recordings (../shared/parity/guided) as a folder that is loaded as users' files are."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

WORDS = {"a</w>": 320, "with</w>": 593, "photo</w>": 1125, "sketch</w>": 5269, "crayon</w>": 41801}
START, END = 49406, 49407
OUTER = {"ln_1": "layer_norm1", "ln_2": "layer_norm2", "attn.out_proj": "self_attn.out_proj"}
INNER = {"mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2"}


def write_tiny_clip(recordings: Path, folder: Path) -> None:
    """CLIPModel's weights and a tokenizer that knows the words of the recorded prompts.

    Only the rows of those words are among the recordings: the others are 0.
    """
    from transformers import CLIPConfig, CLIPModel

    state = {key: value.float() for key, value in torch.load(recordings / "clip_tiny.pt", weights_only=True).items()}
    text = {
        "vocab_size": 49408,
        "hidden_size": 16,
        "intermediate_size": 64,
        "num_attention_heads": 2,
        "num_hidden_layers": 1,
    }
    vision = {"hidden_size": 64, "intermediate_size": 256, "num_attention_heads": 1, "num_hidden_layers": 1}
    vision |= {"image_size": 224, "patch_size": 16}
    text["projection_dim"] = vision["projection_dim"] = 32
    tokens = {"bos_token_id": START, "eos_token_id": END, "pad_token_id": END}
    model = CLIPModel(CLIPConfig(text_config={**text, **tokens}, vision_config=vision, projection_dim=32))
    missing = model.load_state_dict(weights_of(state), strict=False)
    assert not missing.unexpected_keys and all("position_ids" in key for key in missing.missing_keys)
    model.save_pretrained(folder)
    write_tokenizer(folder)


def weights_of(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """OpenAI's keys as transformers'."""
    embeddings = torch.zeros(49408, 16)
    embeddings[state["token_rows.ids"].long()] = state["token_rows.weight"]
    return {
        "logit_scale": state["logit_scale"],
        "vision_model.embeddings.class_embedding": state["visual.class_embedding"],
        "vision_model.embeddings.patch_embedding.weight": state["visual.conv1.weight"],
        "vision_model.embeddings.position_embedding.weight": state["visual.positional_embedding"],
        "visual_projection.weight": state["visual.proj"].T.contiguous(),
        "text_model.embeddings.token_embedding.weight": embeddings,
        "text_model.embeddings.position_embedding.weight": state["positional_embedding"],
        "text_projection.weight": state["text_projection"].T.contiguous(),
        **_norm(state, "visual.ln_pre", "vision_model.pre_layrnorm"),
        **_norm(state, "visual.ln_post", "vision_model.post_layernorm"),
        **_norm(state, "ln_final", "text_model.final_layer_norm"),
        **_block(state, "visual.transformer.resblocks.0", "vision_model.encoder.layers.0"),
        **_block(state, "transformer.resblocks.0", "text_model.encoder.layers.0"),
    }


def _norm(state: dict[str, Tensor], theirs: str, ours: str) -> dict[str, Tensor]:
    return {f"{ours}.{part}": state[f"{theirs}.{part}"] for part in ("weight", "bias")}


def _block(state: dict[str, Tensor], theirs: str, ours: str) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for old, new in (OUTER | INNER).items():
        found |= _norm(state, f"{theirs}.{old}", f"{ours}.{new}")
    for part in ("weight", "bias"):
        for name, value in zip("qkv", state[f"{theirs}.attn.in_proj_{part}"].chunk(3), strict=True):
            found[f"{ours}.self_attn.{name}_proj.{part}"] = value
    return found


def write_tokenizer(folder: Path) -> None:
    """A byte-pair vocabulary of the words, each grown from left to right."""
    vocabulary, merges = dict(WORDS), list[str]()
    for word in WORDS:
        letters = word.removesuffix("</w>")
        symbols = [*letters[:-1], f"{letters[-1]}</w>"]
        grown = symbols[0]
        for symbol in symbols[1:]:
            merges.append(f"{grown} {symbol}")
            grown += symbol
            for part in (grown, symbol):
                vocabulary.setdefault(part, 42000 + len(vocabulary))
        vocabulary.setdefault(symbols[0], 42000 + len(vocabulary))
    vocabulary |= {"<|startoftext|>": START, "<|endoftext|>": END}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(dict.fromkeys(merges)) + "\n")
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}
    configuration = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": 77,
        "unk_token": "<|endoftext|>",
        **special,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(configuration))
