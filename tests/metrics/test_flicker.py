"""Flicker: none where weights stay, the jump's own size where they jump."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from monai_ddfm.errors import InputError
from monai_ddfm.likelihoods.baselines import fuse_baseline
from monai_ddfm.metrics import flicker, flicker_share, slice_change


def random_sources(seed: int = 0, shape: tuple[int, int, int] = (6, 5, 7)) -> torch.Tensor:
    return torch.rand(1, 2, *shape, generator=torch.Generator().manual_seed(seed))


@given(weight=st.floats(0, 1), seed=st.integers(0, 50))
def test_a_weight_that_stays_never_flickers(weight: float, seed: int) -> None:
    sources = random_sources(seed).double()
    fused = (1 - weight) * sources[:, :1] + weight * sources[:, 1:]
    assert float(flicker(fused, sources)) < 1e-12
    assert float(flicker_share(fused, sources)) < 1e-12


@pytest.mark.parametrize("method", ["average", "max"])
def test_average_and_maximum_never_flicker(method: str) -> None:
    sources = random_sources()
    assert float(flicker(fuse_baseline(sources, method=method), sources)) < 1e-5


def test_a_weight_that_jumps_flickers_by_the_difference_of_the_sources() -> None:
    """Constant sources 0.2 and 0.6; the weight is 0, 1, 1: one of two changes is 0.4."""
    sources = torch.tensor([0.2, 0.6]).reshape(1, 2, 1, 1, 1).expand(1, 2, 3, 4, 3)
    weight = torch.tensor([0.0, 1.0, 1.0])
    fused = torch.lerp(sources[:, :1], sources[:, 1:], weight)
    assert float(flicker(fused, sources)) == pytest.approx(255 * 0.4 / 2, rel=1e-6)
    assert float(flicker_share(fused, sources)) == pytest.approx(1.0)
    assert float(slice_change(fused)) == pytest.approx(255 * 0.4 / 2, rel=1e-6)


def test_against_loops() -> None:
    sources, fused = random_sources(1), random_sources(2)[:, :1]
    mask = random_sources(3)[0, 0] > 0.4
    excess, change, count = 0.0, 0.0, 0
    f, a, b = (x.double().numpy() for x in (fused[0, 0], sources[0, 0], sources[0, 1]))
    for x, y, z in np.ndindex(6, 5, 6):
        if mask[x, y, z] and mask[x, y, z + 1]:
            own = abs(f[x, y, z + 1] - f[x, y, z])
            other = max(abs(s[x, y, z + 1] - s[x, y, z]) for s in (a, b))
            excess, change, count = excess + max(0, own - other), change + own, count + 1
    assert float(flicker(fused, sources, mask=mask)) == pytest.approx(255 * excess / count)
    assert float(flicker_share(fused, sources, mask=mask)) == pytest.approx(excess / change)
    assert float(slice_change(fused, mask=mask)) == pytest.approx(255 * change / count)


def test_the_axis_is_that_of_the_slices() -> None:
    sources, fused = random_sources(1), random_sources(2)[:, :1]
    turned = [x.movedim(-1, 2) for x in (fused, sources)]
    assert float(flicker(*turned, axis=0)) == pytest.approx(float(flicker(fused, sources)))
    assert float(flicker(fused, sources, axis=1)) != pytest.approx(float(flicker(fused, sources)))


def test_a_batch_is_its_members() -> None:
    sources = torch.cat([random_sources(1), random_sources(5)])
    fused = torch.cat([random_sources(2), random_sources(6)])[:, :1]
    both = flicker(fused, sources)
    assert both.shape == (2,)
    assert float(both[1]) == pytest.approx(float(flicker(fused[1:], sources[1:])))


def test_what_cannot_flicker_is_refused() -> None:
    sources = random_sources()
    with pytest.raises(InputError, match="needs a volume"):
        flicker(sources[:, :1, ..., 0], sources[..., 0])
    with pytest.raises(InputError, match="two slices"):
        flicker(sources[:, :1, ..., :1], sources[..., :1])
    with pytest.raises(InputError, match="sources must be"):
        flicker(sources[:, :1], sources[..., 1:])
    with pytest.raises(InputError, match="slice axis 3"):
        flicker(sources[:, :1], sources, axis=3)
    with pytest.raises(InputError, match="mask must be"):
        flicker(sources[:, :1], sources, mask=torch.ones(2, 2, 2, dtype=torch.bool))
