"""The most even shares of several sources: against an optimizer, and what they promise."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from monai_ddfm.likelihoods.em import moving_share
from monai_ddfm.likelihoods.shares import even_shares


def test_two_sources_have_the_share_that_one_moving_source_has() -> None:
    generator = torch.Generator().manual_seed(0)
    fixed, moving = torch.rand(2, 1, 1, 30, 30, generator=generator, dtype=torch.float64)
    fused = torch.lerp(fixed, moving, torch.linspace(0, 1, 30, dtype=torch.float64))
    shares = even_shares(fused, torch.cat([fixed, moving], dim=1))
    expected = moving_share(fused, moving, fixed)
    torch.testing.assert_close(shares[:, 1:], expected, rtol=0, atol=2e-6)
    assert float(even_shares(fixed, torch.cat([fixed, fixed], dim=1))[0, 0, 0, 0]) == 0.5


@pytest.mark.parametrize("sources", [(-0.9, 0.1, 0.8), (0.3, 0.3, -0.2, 0.9), (0.0, 1.0, 1.0)])
@pytest.mark.parametrize("place", [0.03, 0.4, 0.75])
def test_no_other_shares_of_that_value_are_more_even(
    sources: tuple[float, ...], place: float
) -> None:
    """Against a general optimizer, by the entropy."""
    values = np.array(sources)
    fused = values.min() + place * (values.max() - values.min())

    def disorder(shares: np.ndarray) -> float:
        return float((shares * np.log(np.maximum(shares, 1e-12))).sum())

    conditions = [
        {"type": "eq", "fun": lambda shares: shares.sum() - 1},
        {"type": "eq", "fun": lambda shares: shares @ values - fused},
    ]
    start = np.full(len(values), 1 / len(values))
    best = optimize.minimize(
        disorder, start, bounds=[(0, 1)] * len(values), constraints=conditions, tol=1e-12
    )
    given = torch.tensor(values)[None, :, None]
    found = even_shares(torch.tensor([[[fused]]], dtype=torch.float64), given)[0, :, 0].numpy()
    np.testing.assert_allclose(found, best.x, atol=2e-4)
    assert disorder(found) <= best.fun + 1e-7


@settings(max_examples=50)
@given(
    count=st.integers(2, 5),
    seed=st.integers(0, 9999),
    spread=st.sampled_from([1.0, 0.1, 1e-3, 1e-6, 0.0]),
)
def test_shares_sum_to_one_and_give_the_value(count: int, seed: int, spread: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    sources = spread * (2 * torch.rand(2, count, 9, 9, generator=generator) - 1)
    place = torch.rand(2, 1, 9, 9, generator=generator).round(decimals=1)
    low, high = sources.amin(1, keepdim=True), sources.amax(1, keepdim=True)
    fused = torch.lerp(low, high, place)
    shares = even_shares(fused, sources)
    assert bool(shares.isfinite().all())
    assert 0 <= float(shares.min()) <= float(shares.max()) <= 1
    torch.testing.assert_close(shares.sum(1), torch.ones(2, 9, 9), rtol=0, atol=1e-6)
    given = (shares * sources).sum(1, keepdim=True)
    torch.testing.assert_close(given, fused, rtol=0, atol=1e-4 + 1e-5 * spread)


def test_the_order_of_the_sources_does_not_matter() -> None:
    sources = torch.rand(1, 4, 5, 5, generator=torch.Generator().manual_seed(1))
    fused = sources.mean(1, keepdim=True)
    turned = [2, 0, 3, 1]
    torch.testing.assert_close(
        even_shares(fused, sources)[:, turned],
        even_shares(fused, sources[:, turned]),
        rtol=0,
        atol=1e-6,
    )
