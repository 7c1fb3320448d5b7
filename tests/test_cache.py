"""The cache: results computed once and kept in memory and in a folder."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from velatura.cache import Cache


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
