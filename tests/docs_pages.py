"""The pages of the documentation, their commands and snippets, and what a reader has at hand who follows them."""

from __future__ import annotations

import io
import json
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from PIL import Image
from pyarrow import csv, parquet
from safetensors.torch import save_file

from tests.conftest import smooth_image
from tests.test_parity_adm import original
from tests.tiny_adapters import kohya_lora, save_controlnet, save_ip_adapter, save_sd15, save_sdxl
from tests.tiny_flow import SD35, save_tiny_flux, save_tiny_sd3, tiny_t5
from velatura import Studio
from velatura.app.comparing import FORMAT, Key
from velatura.models.adm.architecture import AdmShape
from velatura.models.loading.load import load_backbone
from velatura.picture import save_picture

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
EXCEPTED = "<!-- not run: "
BLOCK = re.compile(rf"({EXCEPTED}[^>]+-->\n)?```(sh|bash|python)\n(.*?)```", re.DOTALL)
FITTED = ("s2prest", "inst", "diffstyler")  # whose fits are trained: two steps of them are enough here
ADM_SHAPE = AdmShape(16, 32, (1, 1), 1, (1,), head_channels=32)


def blocks(page: Path, *languages: str, excepted: bool = False) -> list[str]:
    """A page's blocks in some languages; ``excepted`` ones too, or only those that are to be run."""
    found = BLOCK.findall(page.read_text())
    return [code for why, language, code in found if language in languages and (excepted or not why)]


def commands(page: Path, excepted: bool = False) -> list[list[str]]:
    """The arguments of each call of velatura on a page."""
    found = blocks(page, "sh", "bash", excepted=excepted)
    lines = [line for code in found for line in code.replace("\\\n", " ").splitlines()]
    words = [shlex.split(line, comments=True) for line in lines if re.search(r"\bvelatura ", line)]
    calls = [each[each.index("velatura") + 1 :] for each in words if "velatura" in each and "pip" not in each]
    return [[word for word in call if word != "&"] for call in calls]


def made_by(page: Path) -> list[str]:
    """The pictures that a page's commands say they write."""
    return re.findall(r"--out (\S+\.png)", "".join(blocks(page, "sh", "bash")))


def quick(call: Sequence[str], model: str) -> list[str]:
    """The call with a small size and few steps, a folder in place of a bucket, and ``model`` in other processes."""
    call = [word.replace("s3://bucket", "bucket") for word in call]
    method = call[call.index("--method") + 1] if "--method" in call else "guided"
    fit = ("--set", "fit_steps=2") if method in FITTED else ()
    size = () if "full" in call else ("--size", "64")
    added: Mapping[str, Sequence[str]] = {
        "stylize": (*size, "--steps", "2", *fit),
        "fit": (*fit, *(("--set", "fit_size=64") if fit else ())),
        "batch": ("--size", "64", "--steps", "2", "--workers", "1", "--model", model),
        "benchmark": ("--size", "64", *_quick_entries(call)),
        "models": ("--head-channels", str(ADM_SHAPE.head_channels)) if "convert" in call else (),
    }
    return [*call, *added.get(call[0], ())]


def _quick_entries(call: Sequence[str]) -> list[str]:
    """Few steps for each of a benchmark's methods, one pair, and no outsider that optimises."""
    named = call[call.index("--methods") + 1] if "--methods" in call else "guided,s2prest"
    entries = [entry.split("=") for entry in named.split(",") if entry != "-"]
    steps = [f"{entry[0]}:steps=2" for entry in entries]
    fits = [f"{entry[0]}:fit_steps=2" for entry in entries if entry[-1] in FITTED]
    outsiders = [] if "--outsiders" in call else ["--outsiders", "photo,palette"]
    return [*(word for setting in (*steps, *fits) for word in ("--set", setting)), "--pairs", "1", *outsiders]


def prepare(folder: Path, page: str) -> None:
    """Put into a folder what a page's commands name and no command before them makes."""
    smooth_image(512, 512, 1).save(folder / "photo.jpg")
    for seed, name in enumerate(("painting", "painting2", "first", "second", "third")):
        smooth_image(128, 128, seed).save(folder / f"{name}.jpg")
    smooth_image(512, 512, 9).save(folder / "depth.png")
    Image.new("L", (128, 128), 255).save(folder / "sky.png")
    for place, names in {"holiday": ("sea", "hill"), "photos": ("cat", "dog"), "paintings": ("ink", "oil")}.items():
        for seed, name in enumerate(names):
            (folder / place).mkdir(exist_ok=True)
            smooth_image(64, 64, seed).save(folder / place / f"{name}.jpg")
    PREPARED.get(page, lambda _: None)(folder)


def _plan(folder: Path) -> None:
    """The page's own plan, as Parquet."""
    (folder / "bucket").mkdir()
    smooth_image(64, 64, 7).save(folder / "bucket" / "dog.jpg")
    (rows,) = re.findall(r"```csv\n(.*?)```", (ROOT / "docs" / "batch.md").read_text(), re.DOTALL)
    table = csv.read_csv(io.BytesIO(rows.replace("s3://bucket", "bucket").encode()))
    parquet.write_table(table, folder / "plan.parquet")


def _results(folder: Path) -> None:
    """Results of two programs, under both patterns of the page."""
    (folder / "styles").mkdir()
    for style in ("ink", "oil"):
        smooth_image(64, 64, len(style)).save(folder / "styles" / f"{style}.jpg")
        for content in ("cat", "dog"):
            for method in ("", "ours", "theirs"):
                name = f"{method}/{style}/{content}.jpg" if method else f"{content}_{style}.png"
                (folder / "results" / name).parent.mkdir(parents=True, exist_ok=True)
                smooth_image(64, 64, 5).save(folder / "results" / name)
    (folder / "kinds.json").write_text(json.dumps({"dark": ["ink.jpg"], "pale": ["oil.jpg"]}))


def _explained(folder: Path) -> None:
    Studio("house").stylize(folder / "photo.jpg", style=folder / "painting.jpg", seed=1, steps=2, size=64).save(
        folder / "out.png"
    )
    (folder / "inputs").mkdir()
    (folder / "styles").mkdir()
    for method in ("guided", "s2prest"):
        for name in ("cat", "dog"):
            save_picture(smooth_image(64, 64, len(method)), folder / "results" / method / f"{name}.png", {})
    key = Key(3, "guided", "s2prest", ("cat", "dog"))
    for person, choice in (("anna", "left"), ("ben", "tie")):
        choices = [{"pair": pair, "choice": choice} for pair in key.pairs]
        told = {"format": FORMAT, "key": key.encoded(), "choices": choices}
        (folder / f"{person}.json").write_text(json.dumps(told))


def _adapters(folder: Path) -> None:
    unet = load_backbone(str(save_sd15(folder / "sd15")), "cpu", "fp32").unet  # type: ignore[attr-defined]
    save_ip_adapter(folder / "models", unet)
    for kind in ("canny", "depth"):
        save_controlnet(folder / "models" / f"sd-controlnet-{kind}", unet)
    save_file(kohya_lora(unet), folder / "lcm-lora-sdv1-5.safetensors")
    wide = load_backbone(str(save_sdxl(folder / "sdxl")), "cpu", "fp32").unet  # type: ignore[attr-defined]
    save_ip_adapter(folder / "sdxl_models", wide, "ip-adapter_sdxl.safetensors")


def _flows(folder: Path) -> None:
    save_tiny_flux(folder / "FLUX.1-schnell", guidance_embeds=False)
    save_tiny_sd3(folder / "stable-diffusion-3.5-medium", tiny_t5(), **SD35)


PREPARED: Mapping[str, Callable[[Path], None]] = {
    "adapters.md": _adapters,
    "batch.md": _plan,
    "evaluation.md": _results,
    "explain.md": _explained,
    "full-resolution.md": lambda folder: smooth_image(128, 128, 1).save(folder / "photo.jpg"),
    "guided.md": lambda folder: torch.save(original(ADM_SHAPE), folder / "256x256_diffusion_uncond.pt"),
    "todays-models.md": _flows,
}
