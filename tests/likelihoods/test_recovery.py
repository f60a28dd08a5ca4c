"""Recovery from partial volumes: against a dense solution in float64, and its promises."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from monai_ddfm.errors import InputError
from monai_ddfm.likelihoods.point_spread import FWHM_PER_DEVIATION, gaussian_blur
from monai_ddfm.likelihoods.recovery import RecoveryOptions, recover

pytestmark = pytest.mark.usefixtures("one_thread_throughout")  # many small operations

FWHM = 6.0
EXACT = RecoveryOptions(rounds=1, iterations=400)


def differences(shape: tuple[int, ...], spacing: tuple[float, ...]) -> list[np.ndarray]:
    """Forward differences per mm along each axis, as dense matrices of the flat image."""
    matrices = []
    for axis, (size, edge) in enumerate(zip(shape, spacing, strict=True)):
        one = np.zeros((size, size))
        rows = np.arange(size - 1)
        one[rows, rows], one[rows, rows + 1] = -1 / edge, 1 / edge
        parts = [one if axis == k else np.eye(n) for k, n in enumerate(shape)]
        matrices.append(np.kron(np.kron(parts[0], parts[1]), parts[2]))
    return matrices


def test_a_round_solves_the_normal_equations() -> None:
    shape, spacing = (6, 5, 4), (1.0, 1.5, 2.0)
    rng = np.random.default_rng(3)
    image, guide = 0.5 + rng.random(shape), rng.random(shape)
    measured = (rng.random(shape) > 0.2).astype(float)
    count = image.size
    deviations = 4.0 / FWHM_PER_DEVIATION / np.array(spacing)
    units = np.eye(count).reshape(count, *shape)
    h = np.stack(
        [ndimage.gaussian_filter(u, deviations, truncate=6).ravel() for u in units], axis=1
    )
    w, f = measured.ravel(), (measured * image).ravel()
    start = (h.T @ f) / np.maximum(h.T @ w, 0.1)
    d = differences(shape, spacing)
    g = np.stack([one @ guide.ravel() for one in d])
    xi = g / np.sqrt((g**2).sum(0) + EXACT.edge**2)
    # P D as one matrix [3 n, n]: every component of the gradient, less what lies along xi.
    along = sum(xi[k][:, None] * d[k] for k in range(3))
    across = [d[k] - xi[k][:, None] * along for k in range(3)]
    steps = np.sqrt(sum((one @ start) ** 2 for one in across) + EXACT.softness**2)
    penalty = sum(one.T @ (EXACT.penalty / steps[:, None] * one) for one in across)
    solved = np.linalg.solve(h.T @ (w[:, None] * h) + penalty, h.T @ f).reshape(shape)

    found = recover(
        torch.from_numpy(image),
        torch.from_numpy(guide),
        blur=gaussian_blur(shape, spacing, 4.0, like=torch.zeros(0)),
        spacing=spacing,
        scale=1.0,
        measured=torch.from_numpy(measured),
        options=EXACT,
    )
    np.testing.assert_allclose(found, solved.clip(0), atol=2e-3)


SHAPE, SPACING = (32, 32, 18), (1.0, 1.0, 2.0)


def sphere(center: tuple[float, float, float], diameter: float) -> Tensor:
    places = [torch.arange(n) * edge for n, edge in zip(SHAPE, SPACING, strict=True)]
    grid = torch.meshgrid(*places, indexing="ij")
    distance = sum((axis - c) ** 2 for axis, c in zip(grid, center, strict=True)).sqrt()
    return (0.5 - (distance - diameter / 2)).clamp(0, 1)


HOT, ELSEWHERE = sphere((10, 16, 18), 12), sphere((24, 16, 18), 8)
BLUR = gaussian_blur(SHAPE, SPACING, FWHM, like=torch.zeros(0))
TRUTH = 4000 + 12000 * HOT


def recovered(guide: Tensor | None, image: Tensor = TRUTH, **options: Any) -> Tensor:
    seen = BLUR(image)
    return recover(
        seen, guide, blur=BLUR, spacing=SPACING, scale=14000.0, guide_scale=1000.0, **options
    )


def recovery(image: Tensor) -> float:
    """Share of the sphere's true contrast that is found."""
    return float(((image - 4000) * HOT).sum() / ((TRUTH - 4000) * HOT).sum())


@pytest.fixture(scope="module")
def with_edges() -> Tensor:
    return recovered(500 + 500 * HOT)


def test_a_sphere_of_12_mm_comes_back_with_and_without_edges(with_edges: Tensor) -> None:
    assert recovery(BLUR(TRUTH)) < 0.65
    assert recovery(with_edges) > 0.9
    hidden = recovered(torch.full(SHAPE, 500.0))
    assert 0.8 < recovery(hidden) < recovery(with_edges)
    assert torch.equal(hidden, recovered(None))


def test_what_only_the_mri_has_leaves_no_trace(with_edges: Tensor) -> None:
    marked = recovered(500 + 500 * HOT + 400 * ELSEWHERE)
    inside = ELSEWHERE > 0.5
    trace = (marked - with_edges)[inside].mean() / TRUTH[inside].mean()
    assert abs(float(trace)) < 0.02
    assert float((marked - with_edges).abs().max()) > 0  # it was looked at


def test_the_sum_is_kept(with_edges: Tensor) -> None:
    assert float(with_edges.sum()) == pytest.approx(float(TRUTH.sum()), rel=1e-4)


def test_a_uniform_image_stays_as_it_is() -> None:
    flat = torch.full(SHAPE, 8000.0)
    np.testing.assert_allclose(recovered(500 + 500 * HOT, flat), flat, rtol=1e-4)


def test_counts_of_a_uniform_image_keep_their_mean() -> None:
    """Noise that edges of the MRI sharpen has no bias; 34 counts a voxel as in the demo."""
    counts = torch.poisson(torch.full(SHAPE, 34.0), generator=torch.Generator().manual_seed(0))
    flat = recovered(500 + 500 * HOT + 400 * ELSEWHERE, counts * (16000 / 34))
    noisy = BLUR(counts * (16000 / 34))
    assert float(flat.mean()) == pytest.approx(float(noisy.mean()), rel=1e-3)
    for inside in (HOT > 0.9, ELSEWHERE > 0.9):
        assert float(flat[inside].mean()) == pytest.approx(float(noisy[inside].mean()), rel=0.03)


def test_a_wide_blur_is_solved_as_far_as_a_narrow_one() -> None:
    """Stopped short of the solution, what is left to find is an overshoot amid the sphere."""
    wide = gaussian_blur(SHAPE, SPACING, 10.0, like=torch.zeros(0))
    truth = 4000 + 12000 * sphere((15, 16, 18), 18)
    given: dict[str, Any] = {"blur": wide, "spacing": SPACING, "scale": 14000.0}
    given["guide_scale"] = 16000.0
    found = recover(wide(truth), truth, **given)
    solved = recover(wide(truth), truth, options=RecoveryOptions(iterations=100), **given)
    core = sphere((15, 16, 18), 8) > 0.9
    assert float(found[core].mean()) == pytest.approx(16000, rel=0.03)
    error = (found - solved).square().mean().sqrt() / (wide(truth) - solved).square().mean().sqrt()
    assert float(error) < 0.1


def test_twice_the_uptake_is_twice_the_result(with_edges: Tensor) -> None:
    double = recover(
        2 * BLUR(TRUTH),
        0.1 * (500 + 500 * HOT),
        blur=BLUR,
        spacing=SPACING,
        scale=28000.0,
        guide_scale=100.0,
    )
    np.testing.assert_allclose(double, 2 * with_edges, rtol=1e-3)


def test_what_was_not_measured_has_no_say(with_edges: Tensor) -> None:
    measured = torch.ones(SHAPE)
    measured[:, :, -3:] = 0
    seen = BLUR(TRUTH)
    seen[:, :, -3:] = 1e6
    found = recover(
        seen,
        500 + 500 * HOT,
        blur=BLUR,
        spacing=SPACING,
        scale=14000.0,
        guide_scale=1000.0,
        measured=measured,
    )
    assert recovery(found) == pytest.approx(recovery(with_edges), abs=0.02)
    assert float(found[:, :, :-3].min()) > 3000


def test_nothing_waits_for_the_host() -> None:
    """On the meta device any read-back fails."""
    with torch.device("meta"):
        image = torch.empty(SHAPE)
    blur = gaussian_blur(SHAPE, SPACING, FWHM, like=image)
    options = RecoveryOptions(rounds=2, iterations=2)
    found = recover(
        image, image, blur=blur, spacing=SPACING, scale=1.0, measured=image, options=options
    )
    assert found.shape == SHAPE
    assert found.dtype == torch.float32


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_an_image_without_signal_is_refused(scale: float) -> None:
    with pytest.raises(InputError, match="has no signal to recover from"):
        recover(torch.zeros(SHAPE), None, blur=BLUR, spacing=SPACING, scale=scale)


@pytest.mark.parametrize("name", ["penalty", "softness", "edge", "rounds", "iterations"])
def test_options_are_positive(name: str) -> None:
    with pytest.raises(InputError, match=f"{name} 0 of the recovery is unusable"):
        replace(RecoveryOptions(), **{name: 0})
