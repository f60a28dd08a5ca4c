"""Maps to [-1, 1], the mask of the head and percentiles inside it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from head_phantom import head, radius
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_ddfm.modalities import Modality
from monai_ddfm.transforms.histogram import IntensityMap, fit_map, head_mask
from monai_ddfm.transforms.windows import parse_window

rising = st.lists(
    st.floats(-1e4, 1e4, width=32), min_size=2, max_size=8, unique=True
).map(sorted).filter(lambda knots: min(np.diff(knots)) > 0.1)  # fmt: skip


@given(knots=rising, data=st.data())
@settings(max_examples=60, deadline=None)
def test_map_equals_interpolation_and_can_be_inverted(knots, data):
    inner = sorted(
        data.draw(
            st.lists(
                st.integers(-99, 99), min_size=len(knots) - 2, max_size=len(knots) - 2, unique=True
            )
        )
    )
    values = (-1.0, *(value / 100 for value in inner), 1.0)
    used = IntensityMap(tuple(knots), values)
    width = knots[-1] - knots[0]
    points = np.linspace(knots[0] - width, knots[-1] + width, 301)
    mapped = used.forward(torch.from_numpy(points))
    np.testing.assert_allclose(mapped, np.interp(points, knots, values), atol=1e-9)
    inside = torch.linspace(knots[0], knots[-1], 201, dtype=torch.float64)
    torch.testing.assert_close(
        used.inverse(used.forward(inside)), inside, rtol=0, atol=1e-8 * width
    )
    single = used.forward(inside.float())
    assert single.dtype == torch.float32
    assert (single.diff() >= 0).all()


def test_head_mask_is_the_filled_head():
    for noise in (0.0, 15.0):
        mask = head_mask(head(noise=noise)[0].numpy().astype(np.float64))
        inside = (radius() < 1).numpy()
        assert (mask == inside).mean() > 0.995


def test_head_mask_is_everything_when_there_is_no_air():
    fluid, grey, white = (np.full((n, 20, 5), v) for n, v in ((3, 150.0), (20, 320.0), (20, 500.0)))
    inside_the_head = np.concatenate([fluid, grey, white])
    assert head_mask(inside_the_head).all()
    assert head_mask(grey).all()
    with_air = np.concatenate([np.zeros((40, 20, 5)), inside_the_head])
    assert not head_mask(with_air)[:40].any()


def test_percentiles_are_those_of_the_head():
    scan = head(noise=10.0)[0]
    used = fit_map(scan, parse_window("2%..98%", Modality.MR))
    values = scan.double().numpy()
    expected = np.percentile(values[head_mask(values)], [2, 98])
    np.testing.assert_allclose(used.knots, expected, rtol=1e-12)


def test_percentiles_of_a_large_volume_are_close_to_exact():
    # More than 2**24 voxels, which torch.quantile refuses.
    generator = torch.Generator().manual_seed(0)
    large = torch.rand((300, 300, 190), generator=generator) + 1
    assert large.numel() > 2**24
    black, white = fit_map(large, parse_window("10%..90%", Modality.PET)).knots
    assert black == pytest.approx(1.1, abs=2e-3)
    assert white == pytest.approx(1.9, abs=2e-3)
