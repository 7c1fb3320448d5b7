"""IP-Adapters as they are published: one file of weights, and a folder with the image encoder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from velatura.errors import ModelError
from velatura.models.adapters.picture_encoder import PictureEncoder
from velatura.models.adapters.weights import OTHER_FAMILY
from velatura.models.loading.single_file import read_weights

SUFFIXES = (".safetensors", ".bin")
ENCODER_FOLDER = "image_encoder"
PARTS = ("image_proj", "ip_adapter")


@dataclass(frozen=True)
class Kind:
    """A kind of projection: the key whose width is that of the image embeddings, and whether these are the encoder's
    hidden states.
    """

    width: str
    hidden: bool


# By a key that only this kind has: IP-Adapter, IP-Adapter Plus, IP-Adapter Full Face.
KINDS: Mapping[str, Kind] = {
    "proj.weight": Kind("proj.weight", False),
    "latents": Kind("proj_in.weight", True),
    "proj.3.weight": Kind("proj.0.weight", True),
}


@dataclass(frozen=True, eq=False)
class Weights:
    """The tensors of an IP-Adapter's file: its projection (``image_proj``), and the keys and values of each
    cross-attention by number (``ip_adapter``).
    """

    source: str
    image_proj: Mapping[str, Tensor]
    ip_adapter: Mapping[str, Tensor]

    @property
    def kind(self) -> Kind | None:
        """The kind of its projection; None for one that is not known, as FaceID's."""
        return next((kind for key, kind in KINDS.items() if key in self.image_proj), None)

    def parts(self) -> dict[str, dict[str, Tensor]]:
        """The tensors as diffusers' loader takes them."""
        return {"image_proj": dict(self.image_proj), "ip_adapter": dict(self.ip_adapter)}

    def check_fits(self, unet: Any) -> None:
        """Raise ModelError unless each cross-attention of ``unet`` has keys and values of its width: for what was made
        for another family, and for a damaged file.
        """
        widths = [
            (attention.inner_kv_dim, attention.cross_attention_dim)
            for attention in unet.modules()
            if getattr(attention, "is_cross_attention", False)
        ]
        wanted: Counter[tuple[int, ...]] = Counter(widths)
        found = [self._shapes(part) for part in ("to_k_ip", "to_v_ip")]
        if all(shapes == wanted for shapes in found):
            return
        fitting = min((shapes & wanted).total() for shapes in found)
        if 2 * fitting >= max(len(widths), *(shapes.total() for shapes in found)):
            raise ModelError(
                f"The IP-Adapter {self.source} is damaged (the keys and values of {len(widths) - fitting} of "
                f"{len(widths)} attentions are missing or of another shape): get it again."
            )
        raise ModelError(f"The IP-Adapter {self.source} {OTHER_FAMILY}.")

    def _shapes(self, part: str) -> Counter[tuple[int, ...]]:
        """How many tensors called ``part`` there are of each shape."""
        return Counter(tuple(value.shape) for name, value in self.ip_adapter.items() if name.endswith(f"{part}.weight"))

    def check_encoder(self, encoder: PictureEncoder) -> None:
        """Raise ModelError unless ``encoder`` gives what the projection takes."""
        assert self.kind is not None  # read_ip_adapter has refused the others
        wanted, given = int(self.image_proj[self.kind.width].shape[1]), encoder.width(self.kind.hidden)
        if wanted != given:
            raise ModelError(
                f"The IP-Adapter {self.source} takes image embeddings of {wanted} numbers, and its image encoder gives "
                f"{given}: name the folder of the right one with ip_adapter_encoder."
            )


def find_ip_adapter(place: str) -> Path:
    """The file that ``place`` names, or the only IP-Adapter in that folder. Raises ModelError where there is none."""
    path = Path(place)
    if not path.exists():
        raise ModelError(f"There is no IP-Adapter {place}: give its .safetensors or .bin file, or the folder of it.")
    if not path.is_dir():
        if path.suffix not in SUFFIXES:
            raise ModelError(f"{place} is no IP-Adapter: give its .safetensors or .bin file, or the folder of it.")
        return path
    found = sorted(each for each in path.glob("ip-adapter*") if each.suffix in SUFFIXES)
    stems = sorted({each.stem for each in found})
    if len(stems) != 1:
        several = f"several IP-Adapters ({', '.join(stems)}): name the file"
        raise ModelError(
            f"The folder {place} holds {several if stems else 'no ip-adapter….safetensors: name the file'}."
        )
    return next((each for each in found if each.suffix == SUFFIXES[0]), found[0])


def find_image_encoder(file: Path, place: str) -> Path:
    """The folder ``place``, or without one the folder "image_encoder" beside an IP-Adapter's file.

    Raises ModelError where there is none.
    """
    folder = Path(place) if place else file.parent / ENCODER_FOLDER
    if not (folder / "config.json").is_file():
        raise ModelError(
            f"There is no image encoder in {folder}, which the IP-Adapter {file.name} needs: put it there, or name its "
            "folder with ip_adapter_encoder."
        )
    return folder


def read_ip_adapter(file: Path) -> Weights:
    """The weights in a file; of a .bin tensors only are read, nothing is executed.

    Raises ModelError for a file that is damaged or hostile or no IP-Adapter, and for one of faces.
    """
    raw = read_weights(file)
    parts = {part: _part(raw, part) for part in PARTS}
    if not all(parts.values()):
        raise ModelError(f"{file} is no IP-Adapter (it lacks image_proj or ip_adapter): give an ip-adapter file.")
    weights = Weights(file.name, parts["image_proj"], parts["ip_adapter"])
    if weights.kind is None or weights.kind.width not in weights.image_proj:
        raise ModelError(
            f"{file.name} is an IP-Adapter of an unknown kind (FaceID needs a face recogniser, which is not here): use "
            "ip-adapter, ip-adapter-plus or their like."
        )
    return weights


def _part(raw: Any, part: str) -> dict[str, Tensor]:
    """A part of a file: nested, as in a .bin, or under its prefix, as in a .safetensors."""
    if not isinstance(raw, Mapping):
        return {}
    nested = raw.get(part)
    entries = (
        nested.items()
        if isinstance(nested, Mapping)
        else (
            (str(name).removeprefix(f"{part}."), value)
            for name, value in raw.items()
            if str(name).startswith(f"{part}.")
        )
    )
    # Copies: a mapped file's tensors may lie anywhere, and the last bits of a product depend on where.
    return {name: value.clone() for name, value in entries if isinstance(value, Tensor)}
