"""Qabf and FMI against loops over pixels and windows, and cases with known answers."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from picture_makers import levels
from scipy.fft import dctn
from scipy.signal import convolve2d

from monai_ddfm.errors import InputError
from monai_ddfm.metrics import edge_preservation, feature_mutual_information
from monai_ddfm.metrics.feature_information import _feature_image

Array = npt.NDArray[np.float64]


def qabf_by_loops(f: Array, sources: tuple[Array, Array], *, equal: str) -> float:
    kernel = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], dtype=float)

    def edge(image: Array) -> tuple[Array, Array]:
        sx, sy = convolve2d(image, kernel, mode="same"), convolve2d(image, -kernel.T, mode="same")
        return np.hypot(sx, sy), np.array(
            [
                math.pi / 2 if x == 0 else math.atan(y / x)
                for x, y in zip(sx.flat, sy.flat, strict=True)
            ]
        ).reshape(sx.shape)

    gf, af = edge(f)
    total = weight = 0.0
    for source in sources:
        ga, aa = edge(source)
        for m, n in np.ndindex(*f.shape):
            strong, weak = max(ga[m, n], gf[m, n]), min(ga[m, n], gf[m, n])
            if strong - weak < 1e-9:
                g = gf[m, n] if equal == "evaluator" else 1.0
            else:
                g = weak / strong
            a = 1 - abs(aa[m, n] - af[m, n]) / (math.pi / 2)
            q = 0.9994 / (1 + math.exp(-15 * (g - 0.5))) * 0.9879 / (1 + math.exp(-22 * (a - 0.8)))
            total, weight = total + q * ga[m, n], weight + ga[m, n]
    return total / weight


@pytest.mark.parametrize("equal", ["evaluator", "paper"])
@pytest.mark.parametrize("top", [3, 255])
def test_qabf_against_loops(equal: str, top: int) -> None:
    f, a, b = levels(top, 3, 2, 14, 11, top=top).unbind(0)
    f[0, 3:9] = a[0, 3:9]
    found = edge_preservation(f, a, b, equal_as_evaluator=equal == "evaluator")
    for number in range(2):
        expected = qabf_by_loops(
            f[number].numpy(), (a[number].numpy(), b[number].numpy()), equal=equal
        )
        assert found[number].item() == pytest.approx(expected, abs=1e-9)


def test_qabf_of_equal_images_is_the_best_value() -> None:
    x = levels(0, 1, 16, 16)
    best = 0.9994 / (1 + math.exp(-7.5)) * 0.9879 / (1 + math.exp(-4.4))
    assert best == pytest.approx(0.9748, abs=5e-5)
    assert edge_preservation(x, x, x).item() == pytest.approx(best, abs=1e-12)
    evaluator = edge_preservation(x, x, x, equal_as_evaluator=True).item()
    assert 0 < evaluator - best < 6e-4


def test_qabf_without_edges() -> None:
    x = torch.zeros(1, 16, 16, dtype=torch.float64)
    x[:, 4:10, 5:12] = 200
    flat = torch.zeros_like(x)
    assert edge_preservation(flat, x, x).item() < 1e-3
    assert edge_preservation(x, flat, flat).isnan().all()
    # A source without edges has no say.
    torch.testing.assert_close(edge_preservation(x, x, flat), edge_preservation(x, x, x))


def fmi_window_by_loops(a: Array, f: Array) -> float:
    """One window by joint distribution functions, as the published description gives them."""
    if (a == f).all():
        return 1.0
    shares = []
    for window in (a, f):
        flat = window.ravel(order="F")
        low, high = flat.min(), flat.max()
        flat = np.ones(9) if low == high else (flat - low) / (high - low)
        shares.append(flat / flat.sum())
    p, q = shares
    flat_window = np.ptp(p) == 0 or np.ptp(q) == 0
    c = 0.0 if flat_window else float(np.corrcoef(p, q)[0, 1])
    big_p, big_q = np.cumsum(p), np.cumsum(q)

    def bound(j: int, k: int) -> float:
        """The extreme joint distribution function, zero left of the first position."""
        if j < 0 or k < 0:
            return 0.0
        return min(big_p[j], big_q[k]) if c >= 0 else max(big_p[j] + big_q[k] - 1, 0)

    covariance = sum(bound(j, k) - big_p[j] * big_q[k] for j in range(9) for k in range(9))
    position = np.arange(9)
    deviations = [
        math.sqrt(max((s * position**2).sum() - (s * position).sum() ** 2, 0)) for s in (p, q)
    ]
    usable = c != 0 and min(deviations) > 1e-12
    phi = c / (covariance / (deviations[0] * deviations[1])) if usable else 0.0
    joint = 0.0
    for j in range(9):
        for k in range(9):
            extreme = bound(j, k) - bound(j - 1, k) - bound(j, k - 1) + bound(j - 1, k - 1)
            value = phi * extreme + (1 - phi) * p[j] * q[k]
            if abs(value) > 1e-15:
                joint -= value * math.log2(abs(value))
    separate = sum(-(s[s > 0] * np.log2(s[s > 0])).sum() for s in (p, q))
    return 0.0 if separate < 1e-12 else 2 * (separate - joint) / separate


@pytest.mark.parametrize("top", [2, 20, 255])
def test_fmi_against_loops(top: int) -> None:
    f, a, b = levels(top, 3, 1, 12, 10, top=top).unbind(0)
    f[0, :5, :5] = a[0, :5, :5]
    b[0, 6:, 6:] = 1
    f[0, 8:, 4:8] = 255 - a[0, 8:, 4:8]
    arrays = [image[0].numpy() for image in (f, a, b)]
    values = [
        (fmi_window_by_loops(wa, wf) + fmi_window_by_loops(wb, wf)) / 2
        for m in range(10)
        for n in range(8)
        for wf, wa, wb in [[image[m : m + 3, n : n + 3] for image in arrays]]
    ]
    found = feature_mutual_information(f, a, b)
    assert found.item() == pytest.approx(np.mean(values), abs=1e-9)


@pytest.mark.parametrize("feature", ["pixel", "gradient", "dct"])
def test_fmi_of_equal_images_is_one(feature: str) -> None:
    x = levels(5, 2, 20, 24)
    found = feature_mutual_information(x, x, x, feature=feature)  # type: ignore[arg-type]
    torch.testing.assert_close(found, torch.ones(2, dtype=torch.float64))


def test_fmi_of_a_copy_is_half_one() -> None:
    x = levels(6, 1, 20, 20)
    flat = torch.zeros_like(x)
    assert feature_mutual_information(x, x, flat).item() == pytest.approx(0.5)


def test_fmi_knows_no_brightness_or_contrast() -> None:
    f, a, b = levels(7, 3, 1, 16, 16).unbind(0)
    torch.testing.assert_close(
        feature_mutual_information(f, a, b), feature_mutual_information(0.5 * f + 3, a, 2 * b)
    )


def test_the_cosine_transform_is_scipys() -> None:
    x = levels(8, 1, 17, 22)
    np.testing.assert_allclose(_feature_image(x, "dct")[0], dctn(x[0], norm="ortho"), atol=1e-9)


def test_fmi_refuses_what_it_does_not_know() -> None:
    x = levels(9, 1, 8, 8)
    with pytest.raises(InputError, match="pixel, gradient, dct"):
        feature_mutual_information(x, x, x, feature="wavelet")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="3 x 3"):
        feature_mutual_information(x[:, :2], x[:, :2], x[:, :2])
