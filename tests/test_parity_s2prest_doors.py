"""The published S2PreST and InST runs through the doors: ``styles import``, then the Studio or ``stylize``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from typer.testing import CliRunner

from tests.test_parity import PARITY, needs_recordings, off
from velatura.app.cli import app
from velatura.app.studio import Studio
from velatura.errors import SettingError
from velatura.methods.s2prest.embeddings_file import read_published_embeddings, read_published_module
from velatura.picture import open_picture
from velatura.reproductions.s2prest import S2PreSTOriginal, given_draws
from velatura.style import Style

SEED = PARITY.parent / "data" / "seed"
RECORDED = PARITY / "s2prest"
TINY = RECORDED / "tiny" / "tiny.ckpt"
pytestmark = [
    needs_recordings,
    pytest.mark.skipif(not SEED.is_dir(), reason=f"the pictures in {SEED} are not here"),
]


def of_size(size: tuple[int, int]) -> Path:
    return next(path for path in sorted(SEED.iterdir()) if open_picture(path).size == size)


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Studio:
    """With the published embedding, imported by the command line with its picture."""
    home = tmp_path_factory.mktemp("home")
    chosen = ["--name", "published", "--picture", str(of_size((534, 747))), "--model", str(TINY)]
    arguments = ["styles", "import", str(RECORDED / "embeddings.pt"), *chosen]
    outcome = CliRunner().invoke(app, arguments, env={"VELATURA_HOME": str(home)})
    assert outcome.exit_code == 0, outcome.exception
    return Studio(str(TINY), "cpu", "fp32", home / "styles")


def stylized(studio: Studio, method: str, patch: pytest.MonkeyPatch, **settings: Any) -> tuple[Tensor, np.ndarray]:
    """The last latent and the picture."""
    kept: list[Tensor] = []
    denoised = S2PreSTOriginal.denoised

    def keeping(self: S2PreSTOriginal, *given: Any) -> Tensor:
        kept.append(denoised(self, *given))
        return kept[-1]

    patch.setattr(S2PreSTOriginal, "denoised", keeping)
    made = studio.stylize(of_size((500, 339)), "published", 42, method, steps=10, strength=0.4, **settings)
    return kept[-1], np.asarray(made.picture).astype(int)


def test_an_imported_embedding_keeps_the_picture_as_it_is(studio: Studio) -> None:
    assert studio.library.load("published").tensors["picture.00"].shape == (3, 747, 534)


def test_inst_through_the_doors(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = load_file(RECORDED / "inst_s0.4_T10_nodrop_noadain.safetensors")
    last, picture = stylized(studio, "inst-original", monkeypatch)
    assert off(last[..., ::2, ::2], recorded["latent.last.every2"]) < 2e-4
    assert picture.shape == (512, 512, 3)
    assert np.abs(picture[::4, ::4] - recorded["final_png.every4"].numpy().astype(int)).max() <= 1


def test_s2prest_through_the_doors(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = load_file(RECORDED / "s2_s0.4_T10_nodrop.safetensors")
    last, picture = stylized(studio, "s2prest-original", monkeypatch, edges=str(RECORDED / "canny.png"))
    assert off(last, recorded["latent.last"]) < 2e-4
    assert np.abs(picture[::4, ::4] - recorded["final_png.every4"].numpy().astype(int)).max() <= 1


def test_noises_of_a_file_stand_for_those_of_the_seed(tmp_path: Path) -> None:
    """A recording serves as the file: what else it holds is left alone."""
    file = RECORDED / "s2_s0.4_T10_nodrop.safetensors"
    recorded = load_file(file)
    from velatura.methods.context import RunContext
    from velatura.models.loading.load import load_backbone

    context, shape = RunContext(load_backbone(str(TINY), "cpu", "fp32"), 7), torch.Size((1, 4, 64, 64))
    ours = S2PreSTOriginal(noise_file=str(file)).draw_noises(shape, context)
    assert torch.equal(ours.content, recorded["noise.q_sample.0"])
    assert torch.equal(ours.edges, recorded["noise.q_sample.1"])
    assert ours.edges_posterior is not None and torch.equal(ours.edges_posterior, recorded["noise.posterior.canny"])
    with pytest.raises(SettingError, match=r"noise.posterior.style in .* must be \[1, 4, 8, 8\]"):
        S2PreSTOriginal(noise_file=str(file)).draw_noises(torch.Size((1, 4, 8, 8)), context)
    (tmp_path / "broken.safetensors").write_bytes(b"no tensors")
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    for name, sentence in (("none", "cannot be read"), ("broken", "cannot be read"), ("other", "holds no draws")):
        with pytest.raises(SettingError, match=sentence):
            S2PreSTOriginal(noise_file=str(tmp_path / f"{name}.safetensors"))


def test_dropout_masks_act_where_the_published_module_has_them() -> None:
    """Against the module's layers one after the other."""
    module, draws = read_published_module(RECORDED / "embeddings.pt"), torch.Generator().manual_seed(0)
    e = torch.randn(2, 64, generator=draws)
    masks = [torch.rand(64, generator=draws) > 0.3 for _ in range(2)]
    hidden = e @ module.hidden_weight.float().T + module.hidden_bias
    for mask in masks:
        hidden = torch.where(mask, hidden / 0.95, 0.0)
    wanted = hidden @ module.out_weight.T + module.out_bias
    style = Style("published", "s2prest", "tiny", "", {**module.word_map().tensors(), **module.tensors()})
    from velatura.methods.s2prest.style import S2PreSTStyle

    ours = S2PreSTOriginal()._word_under([mask.float() for mask in masks], S2PreSTStyle.of(style), e)
    assert off(ours[:, 0], wanted) < 1e-5
    assert torch.equal(read_published_embeddings(RECORDED / "embeddings.pt").weight, module.word_map().weight)


def test_masks_of_a_file_change_the_result(studio: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    masks = {"dropout.style.attn2": torch.ones(1, 1, 64), "dropout.style.net": torch.ones(1, 1, 64)}
    masks["dropout.style.net"][..., :16] = 0
    save_file(masks, tmp_path / "masks.safetensors")
    assert set(given_draws(tmp_path / "masks.safetensors")) == set(masks)
    recorded = load_file(RECORDED / "inst_s0.4_T10_nodrop_noadain.safetensors")
    last, _ = stylized(studio, "inst-original", monkeypatch, noise_file=str(tmp_path / "masks.safetensors"))
    assert off(last[..., ::2, ::2], recorded["latent.last.every2"]) > 1e-3
