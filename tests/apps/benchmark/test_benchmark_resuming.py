"""What a benchmark has finished is kept, and done again only when something it rests on changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from monai_ddfm.apps.benchmark import Prior, benchmark, parse_methods
from monai_ddfm.apps.benchmark.store import RunStore, code_hash


def kept(folder: Path) -> dict[str, int]:
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in sorted(folder.rglob("*.npz"))}


def test_what_is_finished_is_not_done_again(
    pictures: Path, tmp_path: Path, small_prior: Prior
) -> None:
    out, methods = tmp_path / "out", "average,contrast:steps=1"
    few: dict[str, Any] = {"metrics": ("EN", "CC"), "pictures": False}
    options: dict[str, Any] = {"methods": methods, "noise": "gaussian:15", **few}
    first = benchmark(pictures, output_dir=out, prior=small_prior, **options)
    before = kept(out)
    assert len(before) == 2 * 3 * 2
    calls = []
    small_prior.network.register_forward_hook(lambda *_: calls.append(1))
    again = benchmark(pictures, output_dir=out, prior=small_prior, **options)
    assert calls == []
    assert again.text == first.text
    assert again.csv == first.csv
    # A picture that has changed, and nothing else, is done again.
    path = pictures / "MRI-CT" / "MRI" / "c.png"
    Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
    benchmark(pictures, output_dir=out, prior=small_prior, **options)
    assert len(calls) == 2
    assert before.items() <= kept(out).items()
    # So are other options, and another prior.
    other: dict[str, Any] = {"methods": "contrast:steps=1,eta=0.1", **few}
    benchmark(pictures, output_dir=out, prior=small_prior, **other)
    assert len(calls) == 2 + 3
    benchmark(pictures, output_dir=out, prior=Prior(small_prior.network, "other"), **options)
    assert len(calls) == 2 + 3 + 6


def test_a_run_that_was_killed_goes_on(pictures: Path, tmp_path: Path, small_prior: Prior) -> None:
    count = 0

    def die(*_: object) -> None:
        nonlocal count
        count += 1
        if count == 2:
            raise KeyboardInterrupt

    methods = parse_methods("contrast:steps=1")
    given: dict[str, Any] = {"methods": methods, "prior": small_prior, "pictures": False}
    network = small_prior.network
    handle = network.register_forward_hook(die)
    with pytest.raises(KeyboardInterrupt):
        benchmark(pictures, output_dir=tmp_path / "out", **given)
    handle.remove()
    assert len(kept(tmp_path / "out")) == 1
    assert not (tmp_path / "out" / "benchmark.json").exists()
    whole = benchmark(pictures, output_dir=tmp_path / "out", **given)
    fresh = benchmark(pictures, methods=methods, prior=small_prior)
    assert [row.figures for row in whole.rows] == [row.figures for row in fresh.rows]


def test_the_hash_of_the_code_covers_what_fuses_and_not_what_draws() -> None:
    assert code_hash("fusion") != code_hash("figures")
    assert len(code_hash("fusion")) == 64
    store = RunStore(None)
    assert store.load("a", "b", "c") is None
