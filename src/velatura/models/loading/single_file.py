"""Stable Diffusion checkpoints in their original single-file layout, read without running what they pickle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from velatura.errors import ModelError, first_line
from velatura.models.loading.archive import check_archive
from velatura.models.loading.failing import MORE_THAN_TENSORS


class _Inert:
    """A stand-in that does nothing, for training objects that old checkpoints pickle beside the weights."""

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        pass

    def __setstate__(self, _state: Any) -> None:
        pass


# Keys of transformers in their original single-file layouts, after an optional prefix "model.diffusion_model.", and in
# diffusers' own.
TRANSFORMER_KEYS: Mapping[str, str] = {
    "joint_blocks.0.x_block.attn.qkv.weight": "Stable Diffusion 3",
    "double_blocks.0.img_attn.qkv.weight": "FLUX",
    "single_transformer_blocks.0.attn.to_q.weight": "FLUX",
    "transformer_blocks.0.attn.add_q_proj.weight": "Stable Diffusion 3",
}

# Classes found in published .ckpt files next to the tensors; none of them is needed.
_HARMLESS = (
    "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
    "pytorch_lightning.utilities.parsing.AttributeDict",
)


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors or .ckpt/.pt file by their original keys, on the CPU.

    Raises ModelError for a file that is damaged, hostile or holds no tensors.
    """
    loaded = read_weights(path)
    state = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else None
    tensors = {key: value for key, value in (state or {}).items() if isinstance(value, Tensor)}
    if not tensors:
        raise ModelError(f"{path} holds no model weights: give a Stable Diffusion checkpoint.")
    return tensors


def read_weights(path: Path) -> Any:
    """What a .safetensors or a PyTorch file holds, on the CPU.

    A pickle may hold tensors and plain containers only: anything else is refused, never executed.
    Raises ModelError for a file that is damaged or hostile.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        check_archive(path)
        with torch.serialization.safe_globals([(_Inert, name) for name in _HARMLESS]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except ModelError:
        raise
    except Exception as error:
        if path.suffix == ".safetensors":
            raise ModelError(f"{path} is damaged ({first_line(error)}): get it again.") from None
        reason = MORE_THAN_TENSORS if "weights_only" in str(error) or "Unsupported" in str(error) else first_line(error)
        raise ModelError(f"{path} cannot be loaded: {reason}. Use a .safetensors version of it.") from None


def _configuration(path: Path) -> Path | None:
    """The .yaml of the original layout beside a checkpoint: of the same stem, or of one that begins with it."""
    found = sorted(path.parent.glob(f"{path.stem}*.yaml"))
    exact = [p for p in found if p.stem == path.stem] or [p for p in found if "inference" in p.stem]
    return next(iter(exact or found), None)


def load_single_file(path: Path, dtype: torch.dtype) -> Any:
    """A diffusers pipeline of a single-file checkpoint.

    With the original .yaml and a folder ``clip`` (text configuration and tokenizer) beside it nothing else is
    needed; otherwise diffusers recognises the family and takes configurations and tokenizer from the hub.
    Raises ModelError for a file that is not there, cannot be read or lacks its configurations.
    """
    if not path.is_file():
        raise ModelError(f"There is no file {path}: check the name of the model.")
    yaml, clip = _configuration(path), path.parent / "clip"
    if yaml is not None and clip.is_dir():
        return _from_parts(read_state_dict(path), yaml, clip, dtype)
    from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline

    state = read_state_dict(path)
    _check_no_transformer(state, path)
    two_encoders = any(key.startswith("conditioner.embedders.1.") for key in state)
    pipeline_class = StableDiffusionXLPipeline if two_encoders else StableDiffusionPipeline
    options: dict[str, Any] = {} if two_encoders else {"safety_checker": None, "requires_safety_checker": False}
    try:
        return pipeline_class.from_single_file(path, torch_dtype=dtype, **options)
    except Exception as error:
        raise ModelError(
            f"{path} needs configurations that are not here ({type(error).__name__}): connect to the hub once, or "
            f"put its original .yaml and a folder 'clip' with text configuration and tokenizer beside it."
        ) from None


def _check_no_transformer(state: Mapping[str, Tensor], path: Path) -> None:
    """Raise ModelError for the file of a transformer, which has text encoders and tokenizers beside it elsewhere."""
    for key, family in TRANSFORMER_KEYS.items():
        if key in state or f"model.diffusion_model.{key}" in state:
            raise ModelError(
                f"{path} is a {family} transformer in one file, which cannot be loaded: give a folder or hub id in "
                "diffusers' layout."
            )


def _from_parts(state: dict[str, Tensor], yaml: Path, clip: Path, dtype: torch.dtype) -> Any:
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from diffusers.loaders.single_file_utils import convert_ldm_clip_checkpoint, fetch_original_config
    from transformers import CLIPConfig, CLIPTextModel, CLIPTokenizer

    original = fetch_original_config(str(yaml), local_files_only=True)
    parameters = original["model"]["params"]
    parts: dict[str, Any] = {}
    for name, part in (("unet", UNet2DConditionModel), ("vae", AutoencoderKL)):
        # A copy each: the converters empty the dictionary they are given.
        parts[name] = part.from_single_file(dict(state), original_config=str(yaml), torch_dtype=dtype)
    text_encoder = CLIPTextModel(CLIPConfig.from_pretrained(clip).text_config)
    converted = convert_ldm_clip_checkpoint(dict(state))
    known = text_encoder.state_dict().keys()
    text_encoder.load_state_dict(
        {_flat(key, known): value for key, value in converted.items() if "position_ids" not in key}
    )
    scheduler = DDIMScheduler(
        beta_start=parameters["linear_start"],
        beta_end=parameters["linear_end"],
        num_train_timesteps=parameters["timesteps"],
        beta_schedule="scaled_linear",
        prediction_type="v_prediction" if parameters.get("parameterization") == "v" else "epsilon",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    return StableDiffusionPipeline(
        **parts,
        text_encoder=text_encoder.to(dtype),
        tokenizer=CLIPTokenizer.from_pretrained(clip),
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _flat(key: str, known: Any) -> str:
    """A text encoder's key as this version of transformers spells it (before 5.6 it is one level deeper)."""
    flat = key.removeprefix("text_model.")
    return flat if flat in known else f"text_model.{flat}"
