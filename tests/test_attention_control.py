"""Attention control: hooks that record and change, and leave the UNet bit for bit as it was."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from tests.tiny_house import tiny_house
from velatura.cache import Cache
from velatura.diffusion.attention_control import (
    SelfAttention,
    at_temperature,
    changed,
    decoder_self_attentions,
    recorded,
)
from velatura.diffusion.inversion import ddim_denoise
from velatura.diffusion.source_features import RecordedSource, SourceInversion, WalkedSource
from velatura.progress import Silent

X = torch.randn(1, 8, 8, 8, generator=torch.Generator().manual_seed(0))
FEATURE = "up_blocks.0.resnets.1.conv2"


@pytest.fixture(autouse=True)
def unet_left_as_it_was() -> Iterator[None]:
    unet = tiny_house().unet
    before = {key: value.clone() for key, value in unet.state_dict().items()}
    modules = list(unet.named_modules())
    yield
    after = unet.state_dict()
    assert list(before) == list(after) and all(torch.equal(before[key], after[key]) for key in before)
    assert modules == list(unet.named_modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in unet.modules())


@torch.no_grad()
def noise() -> Tensor:
    return tiny_house().predict(X, 300, tiny_house().unconditional()).noise


def attention() -> SelfAttention:
    return decoder_self_attentions(tiny_house().unet)[0][1]


def test_the_decoders_self_attentions_by_level() -> None:
    unet = tiny_house().unet
    levels = decoder_self_attentions(unet)
    assert [(index, len(level)) for index, level in levels.items()] == [(0, 2)]
    name = "up_blocks.0.attentions.1.transformer_blocks.0.attn1"
    assert levels[0][1] == SelfAttention(name)
    layer = levels[0][1]
    parts = [layer.queries, layer.keys, layer.values, layer.outputs]
    assert parts == [f"{name}.{part}" for part in ("to_q", "to_k", "to_v", "to_out.0")]
    assert all(isinstance(unet.get_submodule(part), torch.nn.Linear) for part in parts)


def test_what_is_recorded_changes_nothing_and_put_back_neither() -> None:
    unet, layer, plain = tiny_house().unet, attention(), noise()
    names = [layer.queries, layer.keys, layer.values, layer.outputs, FEATURE]
    with recorded(unet, names) as recording:
        assert torch.equal(noise(), plain)
    assert set(recording) == set(names)
    shapes = [tuple(recording[name].shape) for name in (layer.queries, FEATURE)]
    assert shapes == [(1, 16, 64), (1, 64, 4, 4)]
    with changed(unet, {name: (lambda _own, value=value: value) for name, value in recording.items()}):
        assert torch.equal(noise(), plain)


@pytest.mark.parametrize("part", ["queries", "keys", "values", "outputs"])
def test_each_part_can_be_changed(part: str) -> None:
    plain, name = noise(), getattr(attention(), part)
    with changed(tiny_house().unet, {name: torch.zeros_like}):
        assert not torch.allclose(noise(), plain, atol=1e-4)
    assert torch.equal(noise(), plain)


def test_a_feature_module_can_be_changed() -> None:
    plain = noise()
    with changed(tiny_house().unet, {FEATURE: torch.zeros_like}):
        assert not torch.allclose(noise(), plain, atol=1e-4)


def test_the_output_is_the_attention_of_what_was_recorded() -> None:
    """softmax(temperature q k^T / sqrt(d)) v by hand, with keys and values of another length."""
    unet, layer = tiny_house().unet, attention()
    with recorded(unet, [layer.queries, layer.keys, layer.values]) as own:
        noise()
    fewer = {name: own[name][:, :5] for name in (layer.keys, layer.values)}
    before_projection: list[Tensor] = []
    projection = unet.get_submodule(layer.outputs)
    handle = projection.register_forward_pre_hook(lambda _module, inputs: before_projection.append(inputs[0]))
    changes = {layer.queries: at_temperature(1.5)} | {name: (lambda _own, value=v: value) for name, v in fewer.items()}
    with changed(unet, changes):
        noise()
    handle.remove()
    heads = unet.get_submodule(layer.name).heads
    q, k, v = (
        part.unflatten(2, (heads, -1)).transpose(1, 2)
        for part in (own[layer.queries], fewer[layer.keys], fewer[layer.values])
    )
    weights = (1.5 * q @ k.transpose(2, 3) / q.shape[-1] ** 0.5).softmax(-1)
    assert torch.allclose(before_projection[0], (weights @ v).transpose(1, 2).flatten(2), atol=1e-5)


def test_temperature_acts_on_the_changed_queries_and_one_is_none() -> None:
    unet, layer, plain = tiny_house().unet, attention(), noise()
    with changed(unet, {layer.queries: at_temperature(1.0)}):
        assert torch.equal(noise(), plain)
    with changed(unet, {layer.queries: at_temperature(2.0)}):
        hot = noise()
    assert not torch.allclose(hot, plain, atol=1e-6)
    with changed(unet, {layer.queries: at_temperature(2.0, lambda own: own / 2)}):
        assert torch.allclose(noise(), plain, atol=1e-6)


def test_an_exception_removes_the_hooks() -> None:
    unet, plain = tiny_house().unet, noise()

    def fail(_own: Tensor) -> Tensor:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), changed(unet, {attention().queries: torch.zeros_like, FEATURE: fail}):
        noise()
    with pytest.raises(KeyboardInterrupt), recorded(unet, [FEATURE]):
        raise KeyboardInterrupt
    with pytest.raises(AttributeError), changed(unet, {FEATURE: torch.zeros_like, "no.such.module": torch.zeros_like}):
        raise AssertionError("not reached")
    assert torch.equal(noise(), plain)


def source(cache: Cache, corrections: int = 1) -> RecordedSource:
    backbone = tiny_house()
    levels = backbone.schedule.ddim_levels(4)
    modules = {timestep: [FEATURE] for timestep in levels.timesteps[1:]} | {levels.timesteps[0]: []}
    inversion = SourceInversion(backbone, backbone.unconditional(), levels, corrections, modules)
    with torch.no_grad():
        return inversion.run(lambda: X, "key", cache, Silent())


def test_a_source_keeps_what_the_last_pass_of_each_step_had() -> None:
    cache, backbone = Cache(), tiny_house()
    first, kept = source(cache), source(cache)
    before = backbone.evaluations
    levels = first.trajectory.levels
    assert [len(latents) for latents in first.trajectory.latents] == [1] * 5
    with torch.no_grad():
        for timestep in reversed(levels.timesteps[1:]):
            assert torch.equal(first.recording(timestep)[FEATURE], kept.recording(timestep)[FEATURE])
        assert backbone.evaluations - before == 3  # only the kept one had to make its recordings
        assert first.recording(levels.timesteps[0]) == {}


def test_a_walked_source_goes_the_trajectory_back() -> None:
    recorded_source = source(Cache(), corrections=12)
    trajectory, inversion = recorded_source.trajectory, recorded_source.inversion
    walked = WalkedSource(inversion, trajectory)
    with torch.no_grad():
        for timestep in reversed(trajectory.levels.timesteps):
            ours, theirs = walked.recording(timestep), recorded_source.recording(timestep)
            assert all(torch.allclose(ours[name], theirs[name], atol=1e-2) for name in theirs)
        predict = lambda x, t: tiny_house().predict(x, t, inversion.conditioning)  # noqa: E731
        assert torch.equal(walked.latents, ddim_denoise(predict, trajectory.noisiest, trajectory.levels))
    assert torch.allclose(walked.latents, X, atol=1e-2)
