"""A fitted style: one safetensors file with its card in the metadata."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from velatura.errors import StyleError
from velatura.style.validation import faults
from velatura.tensor_file import read_tensors, tensor_bytes, write_tensors

FORMAT = "velatura-style-1"
HEADER = ("name", "method", "model", "fingerprint")  # the texts of a style's header


@dataclass(frozen=True)
class Style:
    """The result of fitting one picture by one method on one base model.

    ``model`` is the base model's name and ``fingerprint`` that of its weights (empty where an imported file does not
    say); ``card`` describes the fit (settings, the picture's SHA-256, versions) in plain JSON values.
    """

    name: str
    method: str
    model: str
    fingerprint: str
    tensors: Mapping[str, Tensor]
    card: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def identity(self) -> str:
        """A hash of everything that was fitted."""
        digest = hashlib.sha256(f"{self.method}{self.fingerprint}".encode())
        for name, tensor in sorted(self.tensors.items()):
            digest.update(f"{name}{tuple(tensor.shape)}".encode())
            digest.update(tensor_bytes(tensor))
        return digest.hexdigest()

    def save(self, path: Path) -> None:
        """Write the style whole or not at all. Raises StyleError for one that could not be read again (a fit that
        diverged), and where ``path`` cannot be written.
        """
        wrong = faults(self.card, self.tensors)
        if wrong:
            raise StyleError(f"The style '{self.name}' cannot be kept, because {wrong[0]}: fit it again.")
        header = {key: getattr(self, key) for key in HEADER}
        try:
            text = json.dumps({**header, "card": self.card}, sort_keys=True, allow_nan=False)
            write_tensors(path, self.tensors, {"format": FORMAT, "style": text})
        except OSError as error:
            reason = error.strerror or str(error)
            raise StyleError(f"{path} cannot be written ({reason}): choose another place.") from None
        except (TypeError, ValueError) as error:
            raise StyleError(
                f"The style '{self.name}' cannot be kept, because its card is no JSON ({error})."
            ) from None

    @staticmethod
    def load(path: Path) -> Style:
        """Read a style file. Raises StyleError for anything else, and for a damaged one."""
        try:
            # Styles of earlier versions have no checksum.
            tensors, metadata = read_tensors(path, needs_checksum=False)
            if metadata.get("format") != FORMAT:
                raise StyleError(
                    f"{path} is not a style of this program: make one with 'velatura fit', or import a LoRA with "
                    "'velatura styles import FILE --lora PROMPT'."
                )
            return _style_of(json.loads(metadata["style"], parse_constant=_refused), tensors)
        except FileNotFoundError:
            raise StyleError(f"There is no style file {path}: check the name.") from None
        except RecursionError:
            raise StyleError(f"The style file {path} is damaged (nested too deeply): fit or import it again.") from None
        except (OSError, KeyError, ValueError) as error:
            raise StyleError(f"The style file {path} is damaged ({error}): fit or import it again.") from None

    def check(self, method: str, fingerprint: str, model: str) -> None:
        """Raise StyleError unless the style was fitted by ``method`` on the base model in use."""
        if self.method != method:
            raise StyleError(f"The style '{self.name}' was fitted for {self.method}: use --method {self.method}.")
        if self.fingerprint and self.fingerprint != fingerprint:
            raise StyleError(
                f"The style '{self.name}' was fitted on the model {self.model}, not on {model}: "
                f"use --model {self.model}, or fit it again."
            )


def check_styles(styles: Sequence[Style], method: str, fingerprint: str, model: str) -> None:
    """``Style.check`` of styles that go together. Raises StyleError, which names them, for several methods'."""
    named: dict[str, str] = {}
    for style in styles:
        named.setdefault(style.method, style.name)
    if len(named) > 1:
        told = " and ".join(f"'{name}' for {fitted}" for fitted, name in named.items())
        raise StyleError(f"The styles were fitted for several methods, {told}: fit those of one run for one method.")
    for style in styles:
        style.check(method, fingerprint, model)


def _style_of(fields: Any, tensors: Mapping[str, Tensor]) -> Style:
    """The style of a header read from a file. Raises ValueError for one that no style has."""
    if not isinstance(fields, dict) or fields.keys() != {*HEADER, "card"}:
        raise ValueError("its header has other entries than a style's")
    if not all(isinstance(fields[key], str) for key in HEADER) or not isinstance(fields["card"], dict):
        raise ValueError("its header has entries of the wrong kinds")
    if not all(fields[key].isprintable() for key in HEADER[1:]):
        raise ValueError("its header holds control characters")
    wrong = faults(fields["card"], tensors)
    if wrong:
        raise ValueError(wrong[0])
    return Style(**fields, tensors=tensors)


def _refused(constant: str) -> Any:
    raise ValueError(f"its card holds {constant}")
