"""A manifest in rows of plain words, for the terminal and for pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from velatura.app.recorded import Recorded
from velatura.app.repeating import changed_settings

SHOWN_DIGITS = 12  # of a hash
MEANINGS: Mapping[str, str] = {
    "unet_evaluations": "evaluations of the denoising network",
    "inversion_psnr": "dB: how well the inversion leads back to the photo without the style; over 30 is close",
    "edge_f1": "edges kept, 0 to 1: higher is closer to the photo",
    "local_structure": "local contrast kept, up to 1: higher is closer to the photo",
    "lpips_hedvgg": "perceptual distance from the photo: lower is closer",
    "gram_distance": "textures: 0 the style's, about 1 unrelated",
    "feature_distance": "deep features: lower is closer to the style",
    "colour_distance": "palette, in Lab units: lower is closer to the style",
    "clipped_share": "pixels that are clipped, 0 to 1",
    "mse": "loss on luma, last step",
    "mse_rgb": "loss on colours of pixels, last step",
    "structure": "loss on the photo's local contrast, last step",
    "vgg": "loss on deep features, last step",
    "texture": "loss on the style's textures, last step",
    "palette": "loss on the style's colours, last step",
    "range": "loss on values out of range, last step",
}


def facts(recorded: Recorded) -> list[tuple[str, ...]]:
    """What a result was made of, by what, and what it cost: names and values."""
    manifest = recorded.manifest
    size = manifest.get("working_size") or []
    sources = [_source_text(source) for region in recorded.regions for source, _ in region.parts]
    computed, networks = manifest.get("computed_on") or {}, manifest.get("fast_networks") or {}
    spent = [f"{manifest['seconds']:.1f} s"] if isinstance(manifest.get("seconds"), int | float) else []
    spent += [f"{manifest['unet_evaluations']:g} evaluations"] if manifest.get("unet_evaluations") else []
    rows = [
        ("method", str(manifest["method"])),
        ("content", _file_text(manifest["content"])),
        ("style" if len(sources) < 2 else "styles", "; ".join(dict.fromkeys(sources))),
        ("model", f"{manifest['model']} ({recorded.text('model_fingerprint')})"),
        ("painted by", ", ".join(f"{name} ({digest})" for name, digest in networks.items())),
        ("seed", str(manifest["seed"])),
        ("worked at", " x ".join(str(side) for side in size)),
        (
            "computed on",
            ", ".join(
                f"{value} thread{'s' * (value != 1)}" if name == "threads" else str(value)
                for name, value in computed.items()
            ),
        ),
        ("cost", ", ".join(spent)),
        ("versions", ", ".join(f"{name} {value}" for name, value in (manifest.get("versions") or {}).items())),
    ]
    return [row for row in rows if row[1]]


def region_rows(recorded: Recorded) -> list[tuple[str, ...]]:
    """The regions, with where they are, their style, weight and span; none for one style on the whole picture."""
    if len(recorded.regions) == 1 and recorded.regions[0].is_whole:
        return []
    return [
        (
            str(number),
            region.where,
            str(region.source["name"]),
            f"{region.weight:g}",
            f"{region.span[0]:g} to {region.span[1]:g}",
        )
        for number, region in enumerate(recorded.regions, 1)
    ]


def setting_rows(recorded: Recorded) -> list[tuple[str, ...]]:
    """The settings that differ from the method's defaults."""
    return [(name, _value_text(value)) for name, value in changed_settings(recorded).items() if value not in ({}, [])]


def score_rows(recorded: Recorded) -> list[tuple[str, ...]]:
    """The scores, with what they mean."""
    return [scored(name, value) for name, value in recorded.scores.items()]


def scored(name: str, value: float) -> tuple[str, ...]:
    """A score as a row: its name, value and meaning."""
    return name, f"{value:.4g}", MEANINGS.get(name, MEANINGS.get(name.partition(".")[0], ""))


def _value_text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_value_text(inner)}" for name, inner in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)


def _file_text(entry: Mapping[str, Any]) -> str:
    named = str(entry.get("file") or entry.get("name") or "")
    digest = str(entry.get("sha256") or "")
    return f"{named} ({digest[:SHOWN_DIGITS]}…)" if digest else named


def _source_text(source: Mapping[str, Any]) -> str:
    if source.get("text"):
        return f"the words “{source['text']}”"
    share = f", {source['share']:.0%}" if "share" in source else ""
    return f"{source['name']}{share} — {_file_text(source)}" if source.get("sha256") else f"{source['name']}{share}"
