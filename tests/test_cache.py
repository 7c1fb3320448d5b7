"""The cache: results computed once and kept in memory and in a folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from tests.conftest import full_disk
from velatura.cache import Cache
from velatura.whole_file import whole_file


def test_the_least_recently_used_makes_way() -> None:
    cache = Cache(limit=2)
    for key in ("a", "b", "a", "c", "a", "b"):
        assert cache.get_or_compute(key, lambda key=key: key.upper()) == key.upper()
    assert (cache.hits, cache.misses) == (2, 4)


def test_tensors_outlive_the_program_and_damage_is_repaired(tmp_path: Path) -> None:
    tensor = torch.randn(3, 4)
    calls: list[int] = []

    def compute() -> torch.Tensor:
        calls.append(1)
        return tensor

    for _ in range(2):
        assert torch.equal(Cache(folder=tmp_path / "cache").get_or_compute_tensor(("x", 1), compute), tensor)
    assert len(calls) == 1
    (file,) = (tmp_path / "cache").iterdir()
    file.write_bytes(b"damaged")
    assert torch.equal(Cache(folder=tmp_path / "cache").get_or_compute_tensor(("x", 1), compute), tensor)
    assert len(calls) == 2


def test_the_folder_keeps_to_its_size(tmp_path: Path) -> None:
    cache = Cache(folder=tmp_path, limit_bytes=10_000)
    for index in range(5):
        cache.get_or_compute_tensor(index, lambda: torch.zeros(1000))
        for age, path in enumerate(sorted(tmp_path.iterdir(), key=lambda p: p.stat().st_mtime_ns)):
            os.utime(path, (1000 + index, 1000 + index + age * 1e-3))
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 10_000
    assert len(list(tmp_path.iterdir())) == 2


def test_a_changed_byte_anywhere_is_noticed(tmp_path: Path) -> None:
    """Whichever byte of the file is changed, the result is the tensor that was computed."""
    tensor = torch.arange(6.0).reshape(2, 3)
    Cache(folder=tmp_path).get_or_compute_tensor("x", lambda: tensor)
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    for place in range(len(whole)):
        changed = whole[place] ^ (1 << place % 8)
        file.write_bytes(whole[:place] + bytes([changed]) + whole[place + 1 :])
        found = Cache(folder=tmp_path).get_or_compute_tensor("x", lambda: tensor)
        assert found.shape == tensor.shape and torch.equal(found, tensor), place


def test_another_results_file_is_not_taken(tmp_path: Path) -> None:
    cache = Cache(folder=tmp_path)
    cache.get_or_compute_tensor("x", lambda: torch.zeros(2))
    (of_x,) = tmp_path.iterdir()
    cache.get_or_compute_tensor("y", lambda: torch.ones(2))
    (of_y,) = set(tmp_path.iterdir()) - {of_x}
    of_y.write_bytes(of_x.read_bytes())
    assert torch.equal(Cache(folder=tmp_path).get_or_compute_tensor("y", lambda: torch.ones(2)), torch.ones(2))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64, torch.int64])
def test_tensors_of_all_types_come_back(tmp_path: Path, dtype: torch.dtype) -> None:
    tensor = torch.arange(6).reshape(2, 3).T.to(dtype)
    computed: list[int] = []
    for _ in range(2):
        found = Cache(folder=tmp_path).get_or_compute_tensor("x", lambda: computed.append(1) or tensor)
        assert found.dtype == dtype and torch.equal(found, tensor)
    assert len(computed) == 1


def test_a_folder_that_cannot_be_written_costs_the_cache_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = Cache(folder=tmp_path / "file" / "cache")
    for key in range(3):
        assert torch.equal(cache.get_or_compute_tensor(key, lambda: torch.ones(2)), torch.ones(2))
    assert len(caplog.records) == 1 and "the work goes on without it" in caplog.text


def test_a_full_disk_costs_the_cache_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = Cache(folder=tmp_path)
    with full_disk(after=1000):
        for key in range(3):
            assert torch.equal(cache.get_or_compute_tensor(key, lambda: torch.ones(2000)), torch.ones(2000))
    assert len(caplog.records) == 1 and "the work goes on without it" in caplog.text
    assert list(tmp_path.iterdir()) == []


def test_two_programs_write_the_same_result_at_once(tmp_path: Path) -> None:
    """The second one writes while the first is still writing: neither disturbs the other."""

    def while_the_other_writes() -> torch.Tensor:
        with whole_file(tmp_path / "never") as unfinished:
            unfinished.write_bytes(b"half")
            Cache(folder=tmp_path).get_or_compute_tensor("x", lambda: torch.ones(2))
            assert unfinished.read_bytes() == b"half"
        return torch.ones(2)

    Cache(folder=tmp_path).get_or_compute_tensor("x", while_the_other_writes)
    missing: list[int] = []
    found = Cache(folder=tmp_path).get_or_compute_tensor("x", lambda: missing.append(1) or torch.zeros(2))
    assert torch.equal(found, torch.ones(2)) and not missing


def test_what_a_killed_program_left_is_deleted_after_a_day(tmp_path: Path) -> None:
    new, old = (tmp_path / f".{letter * 32}.part" for letter in "ab")
    for path in (new, old):
        path.write_bytes(b"half")
    os.utime(old, (1000, 1000))
    Cache(folder=tmp_path).get_or_compute_tensor("x", lambda: torch.ones(2))
    assert new.exists() and not old.exists()
