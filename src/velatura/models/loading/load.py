"""From a name on the command line to a loaded backbone."""

from __future__ import annotations

import json
import logging
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from velatura.errors import ModelError
from velatura.models.adapters.ip_adapter import is_loaded
from velatura.models.backbone import Backbone
from velatura.models.features.bundled_weights import WEIGHTS_FOLDER
from velatura.models.loading.catalogue import GONE, KNOWN, KnownModel, short_names
from velatura.models.loading.devices import choose_device, choose_dtype
from velatura.models.loading.failing import load_reason
from velatura.models.loading.hub import pretrained
from velatura.models.loading.kinds import backbone_class, folder_loader, without_placeholders
from velatura.models.loading.library_logging import quiet_libraries
from velatura.models.loading.single_file import load_single_file
from velatura.models.recommended import read_recommended_settings

CHECKPOINT_SUFFIXES = (".ckpt", ".safetensors", ".pt")
SHORT_OF_MEMORY = 8 * 2**30  # bytes of GPU memory below which one network at a time is held there

log = logging.getLogger("velatura")


def load_backbone(model: str, device: str = "auto", dtype: str | torch.dtype = "auto") -> Backbone:
    """Load a model by short name, folder, single file or hub id, frozen and ready.

    Which backbone it becomes is decided by what it is made of (see ``kinds``): an ADM that ``velatura models convert``
    wrote, or a diffusers pipeline. The network is used for a hub model that is not in the cache, and for no other.
    Raises ModelError when it cannot be found, reached or read, SettingError for the device or format.
    """
    chosen_device = choose_device(device)
    chosen_dtype = choose_dtype(chosen_device, dtype)
    load_folder = folder_loader(Path(model))
    if load_folder is not None:
        return load_folder(Path(model), model, chosen_device, chosen_dtype)
    with quiet_libraries():
        pipeline = _pipeline(model, chosen_dtype)
        backbone = backbone_class(pipeline, model)
        pipeline.vae.to(torch.float32)
        _place(pipeline, chosen_device)
    known = short_names().get(model)
    settings = read_recommended_settings(Path(known.place if known else model))
    return backbone(pipeline, model, chosen_device, chosen_dtype, recommended_settings=settings)


def backbone_of_pipeline(pipeline: Any) -> Backbone:
    """A diffusers pipeline that is loaded already, as a backbone on its own device and in its own number format.

    Its networks are frozen, its VAE goes to float32, and a folder's recommended settings count. Networks that are
    offloaded compute where their hooks bring them. Raises ModelError for a pipeline of another family, and for one with
    an IP-Adapter.
    """
    name = str(getattr(pipeline, "name_or_path", "") or type(pipeline).__name__)
    without_placeholders(pipeline)
    if getattr(pipeline, "unet", None) is not None and is_loaded(pipeline.unet):
        raise ModelError(
            "An IP-Adapter is loaded on this pipeline: call unload_ip_adapter() and name its file with ip_adapter, or "
            "load a pipeline of velatura.pipelines."
        )
    backbone = backbone_class(pipeline, name)
    if pipeline.vae.dtype != torch.float32:
        pipeline.vae.to(torch.float32)
    network = pipeline.unet if getattr(pipeline, "unet", None) is not None else pipeline.transformer
    device = getattr(pipeline, "_execution_device", network.device)
    settings = read_recommended_settings(Path(name))
    return backbone(pipeline, name, device, network.dtype, recommended_settings=settings)


def _pipeline(model: str, dtype: torch.dtype) -> Any:
    known = short_names().get(model)
    if known is not None and known.source == "bundled":
        raise ModelError(f"'{model}' is a helper network, not a model to stylise with: use house, sd15 or another.")
    place = known.place if known else model
    path = Path(place)
    if path.suffix in CHECKPOINT_SUFFIXES:
        return load_single_file(path, dtype)
    if path.is_dir():
        return _from_folder(path, dtype)
    if known is not None and known.source == "embedded":
        raise ModelError(f"The embedded model is missing from the installation ({path}): install the package again.")
    if place.startswith((".", "/", "~")) or place.count("/") != 1:
        names = ", ".join(m.name for m in KNOWN if m.source != "bundled")
        raise ModelError(
            f"There is no model '{model}': name one of {names}, a folder, a file, or a hub id 'owner/name'."
        )
    return _from_hub(place, dtype)


def _load(place: str, dtype: torch.dtype, **options: Any) -> Any:
    from diffusers import DiffusionPipeline

    # A folder may name the house model's own classes; diffusers takes them from imported modules only.
    for module in ("autoencoder", "image_encoder"):
        import_module(f"velatura.models.house.{module}")
    options = {"safety_checker": None, "requires_safety_checker": False, **options}
    return DiffusionPipeline.from_pretrained(place, torch_dtype=dtype, **options)


def _from_folder(path: Path, dtype: torch.dtype) -> Any:
    if not (path / "model_index.json").is_file():
        raise ModelError(f"The folder {path} holds no model_index.json: give a folder that diffusers saved.")
    try:
        return _load(str(path), dtype, local_files_only=True, **_absent_parts(path))
    except Exception as error:
        raise ModelError(f"The model in {path} cannot be loaded: {load_reason(error)}.") from None


def _absent_parts(folder: Path) -> dict[str, None]:
    """The parts that a pipeline was saved without: diffusers wants to hear of those that are not optional."""
    index = json.loads((folder / "model_index.json").read_text())
    return {name: None for name, entry in index.items() if entry == [None, None]}


def _from_hub(place: str, dtype: torch.dtype) -> Any:
    if place in GONE:
        log.warning("%s was removed from the hub: using its living copy %s.", place, GONE[place])
        place = GONE[place]
    hint = "check the name and the connection, or use --model house, which needs no network"
    return pretrained(partial(_load, dtype=dtype), place, hint)


def _place(pipeline: Any, device: torch.device) -> None:
    """Move to the device; on a small GPU keep only the part at work there, and run the VAE in slices."""
    if device.type == "cuda" and torch.cuda.get_device_properties(device).total_memory < SHORT_OF_MEMORY:
        pipeline.enable_model_cpu_offload(device=device)
        pipeline.vae.enable_slicing()
        pipeline.vae.enable_tiling()
    else:
        pipeline.to(device)


def is_present(model: KnownModel) -> bool:
    """Whether a known model can be used without a network; uses none to find out."""
    if model.source == "embedded":
        return (Path(model.place) / "model_index.json").is_file()
    if model.source == "bundled":
        return any(WEIGHTS_FOLDER.glob(f"{model.place}*.safetensors"))
    from huggingface_hub import try_to_load_from_cache

    files = ("model_index.json", "config.json")
    return any(isinstance(try_to_load_from_cache(model.place, file), str) for file in files)
