"""The plain fusion rules against loops, known answers and their own promises."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from scipy.ndimage import correlate, gaussian_filter, uniform_filter
from torch import Tensor

from monai_ddfm.errors import InputError
from monai_ddfm.likelihoods.baselines import (
    BASELINES,
    average,
    fuse_baseline,
    guided_filter,
    guided_filter_fusion,
    laplacian_pyramid_fusion,
    maximum,
    stretch_contrast,
)

Array = npt.NDArray[np.float64]
SEEDS = st.integers(0, 2**32 - 1)


def noise(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator, dtype=torch.float64)


def test_average_and_maximum() -> None:
    a, b = torch.tensor([0.0, 0.2, 1.0]), torch.tensor([1.0, 0.4, 0.0])
    torch.testing.assert_close(average(a, b), torch.tensor([0.5, 0.3, 0.5]))
    assert torch.equal(maximum(a, b), torch.tensor([1.0, 0.4, 1.0]))


def test_stretch_is_per_image() -> None:
    image = torch.tensor([[0.2, 0.3, 0.4], [0.0, 0.5, 1.0], [0.7, 0.7, 0.7]])
    expected = torch.tensor([[0.0, 0.5, 1.0], [0.0, 0.5, 1.0], [0.0, 0.0, 0.0]])
    torch.testing.assert_close(stretch_contrast(image), expected)


@given(SEEDS, st.integers(1, 40), st.integers(1, 40), st.integers(1, 5))
def test_the_pyramid_stays_between_the_sources(
    seed: int, height: int, width: int, levels: int
) -> None:
    a, b = noise(seed, 2, 2, 1, height, width).unbind(0)
    fused = laplacian_pyramid_fusion(a, b, levels=levels)
    assert bool((fused >= torch.minimum(a, b)).all())
    assert bool((fused <= torch.maximum(a, b)).all())
    assert torch.equal(fused, laplacian_pyramid_fusion(a, b, levels=levels))


def pyramid_by_loops(a: Array, b: Array, levels: int) -> Array:
    """Choose-max pyramid with scipy, for even sides at all levels and away from the border."""
    kernel = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]) / 256
    low, high = np.minimum(a, b), np.maximum(a, b)

    def expand(small: Array) -> Array:
        wide = np.zeros((2 * small.shape[0], 2 * small.shape[1]))
        wide[::2, ::2] = small
        return 4 * correlate(wide, kernel, mode="nearest")

    details = []
    for _ in range(levels):
        small = [correlate(x, kernel, mode="nearest")[::2, ::2] for x in (a, b)]
        da, db = a - expand(small[0]), b - expand(small[1])
        details.append(np.where(abs(da) >= abs(db), da, db))
        a, b = small
    fused = np.maximum(a, b)
    for detail in details[::-1]:
        fused = expand(fused) + detail
    return np.clip(fused, low, high)


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_pyramid_against_scipy(levels: int) -> None:
    a, b = noise(levels, 2, 1, 1, 128, 160).unbind(0)
    found = laplacian_pyramid_fusion(a, b, levels=levels)[0, 0].numpy()
    expected = pyramid_by_loops(a[0, 0].numpy(), b[0, 0].numpy(), levels)
    edge = 6 * 2**levels
    np.testing.assert_allclose(
        found[edge:-edge, edge:-edge], expected[edge:-edge, edge:-edge], atol=1e-12
    )


def test_the_pyramid_keeps_a_constant_at_the_border() -> None:
    a, b = torch.full((1, 1, 37, 50), 0.75), torch.full((1, 1, 37, 50), 0.25)
    torch.testing.assert_close(laplacian_pyramid_fusion(a, b, levels=4), a)


def test_the_pyramid_takes_detail_from_either_source() -> None:
    """Fine stripes are in one source on the left and in the other on the right."""
    stripes = torch.where(torch.arange(64) % 2 == 0, 0.4, 0.6).double().view(1, 1, 64, 1)
    stripes = stripes.expand(1, 1, 64, 64)
    left = torch.arange(64).view(1, 1, 1, 64) < 32
    a, b = torch.where(left, stripes, 0.5), torch.where(left, 0.5, stripes)
    inner = laplacian_pyramid_fusion(a, b, levels=2)[..., 16:-16, :]
    for columns in (slice(8, 20), slice(44, 56)):
        torch.testing.assert_close(inner[..., columns], stripes[..., 16:-16, columns])


def guided_by_loops(image: Array, guide: Array, radius: int, epsilon: float) -> Array:
    height, width = image.shape
    slope, offset = np.zeros_like(image), np.zeros_like(image)

    def window(m: int, n: int) -> tuple[slice, slice]:
        return (
            slice(max(m - radius, 0), m + radius + 1),
            slice(max(n - radius, 0), n + radius + 1),
        )

    for m, n in np.ndindex(height, width):
        p, g = image[window(m, n)], guide[window(m, n)]
        slope[m, n] = ((p * g).mean() - p.mean() * g.mean()) / (g.var() + epsilon)
        offset[m, n] = p.mean() - slope[m, n] * g.mean()
    return np.array(
        [
            slope[window(m, n)].mean() * guide[m, n] + offset[window(m, n)].mean()
            for m, n in np.ndindex(height, width)
        ]
    ).reshape(height, width)


@pytest.mark.parametrize(("radius", "epsilon"), [(2, 0.01), (9, 0.3), (3, 1e-6)])
def test_guided_filter_against_loops(radius: int, epsilon: float) -> None:
    image, guide = noise(0, 2, 1, 1, 15, 12).unbind(0)
    found = guided_filter(image, guide, radius=radius, epsilon=epsilon)
    expected = guided_by_loops(image[0, 0].numpy(), guide[0, 0].numpy(), radius, epsilon)
    np.testing.assert_allclose(found[0, 0], expected, atol=1e-9)


def test_guided_fusion_against_scipy() -> None:
    a, b = noise(1, 2, 24, 30).numpy()
    b = gaussian_filter(b, 2)
    salient = []
    laplace = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]], dtype=float)
    for x in (a, b):
        magnitude = abs(correlate(x, laplace, mode="nearest"))
        salient.append(gaussian_filter(magnitude, 5, mode="nearest", truncate=1))
    chosen = (salient[0] >= salient[1]).astype(float)
    bases = [uniform_filter(x, 31, mode="nearest") for x in (a, b)]
    parts = (bases, [a - bases[0], b - bases[1]])
    expected = np.zeros_like(a)
    for (first, second), (radius, epsilon) in zip(parts, ((45, 0.3), (7, 1e-6)), strict=True):
        wa = guided_by_loops(chosen, a, radius, epsilon).clip(0, 1)
        wb = guided_by_loops(1 - chosen, b, radius, epsilon).clip(0, 1)
        expected += (wa * first + wb * second) / (wa + wb)
    found = guided_filter_fusion(*(torch.from_numpy(x)[None, None] for x in (a, b)))
    np.testing.assert_allclose(found[0, 0], expected.clip(0, 1), atol=1e-8)


@pytest.mark.parametrize("method", BASELINES)
def test_identical_sources_are_returned(method: str) -> None:
    source = noise(2, 2, 1, 40, 33)
    fused = fuse_baseline(torch.cat((source, source), dim=1), method=method)
    torch.testing.assert_close(fused, source, atol=1e-7, rtol=0)


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("method", BASELINES)
def test_a_volume_is_fused_slice_by_slice(method: str, axis: int) -> None:
    volume = noise(3, 2, 2, 20, 21, 22).float()
    fused = fuse_baseline(volume, method=method, axis=axis)
    assert fused.shape == (2, 1, 20, 21, 22)
    assert fused.dtype == torch.float32
    for number in (0, 5):
        alone = fuse_baseline(volume.select(axis % 3 + 2, number), method=method)
        torch.testing.assert_close(fused.select(axis % 3 + 2, number), alone)


def test_stretching_a_volume_uses_one_scale() -> None:
    volume = noise(4, 1, 2, 8, 9, 10) * 0.5
    fused = fuse_baseline(volume, method="average", stretch=True)
    plain = fuse_baseline(volume, method="average")
    torch.testing.assert_close(fused, (plain - plain.min()) / (plain.max() - plain.min()))


@settings(max_examples=5)
@given(SEEDS)
def test_a_batch_equals_its_members(seed: int) -> None:
    image = noise(seed, 3, 2, 32, 40)
    for method in BASELINES:
        together = fuse_baseline(image, method=method, stretch=True)
        alone = fuse_baseline(image[1:2], method=method, stretch=True)
        torch.testing.assert_close(together[1:2], alone)


def test_metatensors_are_taken() -> None:
    image = noise(5, 1, 2, 16, 16)
    found = fuse_baseline(MetaTensor(image), method="max")
    assert torch.equal(found, image.amax(dim=1, keepdim=True))


def test_what_is_wrong_is_said() -> None:
    image = noise(6, 1, 2, 16, 16)
    with pytest.raises(InputError, match="average, max, pyramid, guided"):
        fuse_baseline(image, method="median")
    with pytest.raises(InputError, match=r"in \[0, 1\] without NaN, not from 0 to 255"):
        fuse_baseline(image * 0 + torch.tensor([0, 255]).view(1, 2, 1, 1), method="max")
    with pytest.raises(InputError, match="shape"):
        fuse_baseline(image[:, :1], method="max")
    with pytest.raises(InputError, match="slice axis"):
        fuse_baseline(image[..., None], method="max", axis=3)
    with pytest.raises(InputError, match="at least 1 level"):
        fuse_baseline(image, method="pyramid", levels=0)
    with pytest.raises(InputError, match="NaN"):
        fuse_baseline(image * float("nan"), method="max")
