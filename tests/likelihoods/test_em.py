"""The EM step against recorded numbers and an independent oracle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from em_images import QUICK, SIDES, images
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from monai_ddfm.likelihoods.em import EMState, em_step, finite_difference_otf, tv_prox

Array = npt.NDArray[np.float64]


class Oracle:
    """The published step on one image, with numpy's complex transforms and shifted kernels."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.tau_a = self.tau_b = 1.0
        self.f1 = self.f2 = np.zeros(shape)
        along_width, along_height = np.zeros(shape), np.zeros(shape)
        # A kernel of two taps, centered as a point-spread function is; on one pixel they cancel.
        along_width[0, -1] += 1
        along_width[0, 0] -= 1
        along_height[-1, 0] += 1
        along_height[0, 0] -= 1
        self.k1, self.k2 = np.fft.fft2(along_width), np.fft.fft2(along_height)

    def step(
        self, f: Array, i: Array, v: Array, lamb: float, rho: float, *, paper: bool, tv: bool
    ) -> Array:
        x, y = f - v, i - v
        d = np.sqrt(2 / self.tau_b / (x**2 + 1e-6))
        c = np.sqrt(2 / self.tau_a / (y - x + 1e-6) ** 2)
        d = np.where(d > 2 * c, 2 * c, d)
        self.tau_b = float(np.mean(1 / (d + 1e-10) + self.tau_b / 2))
        self.tau_a = float(np.mean(1 / (c + 1e-10) + self.tau_a / 2))
        if not tv:
            x = c * y / (c + d)
            return v + x if paper else i - x
        top = np.fft.fft2(y - x)
        top = top + np.conj(self.k1) * np.fft.fft2(self.f1)
        top = top + np.conj(self.k2) * np.fft.fft2(self.f2)
        h = np.fft.ifft2(top / (1 + np.abs(self.k1) ** 2 + np.abs(self.k2) ** 2)).real
        shrink = rho / (2 * lamb + rho)
        beyond = np.pad(h, (0, 1))
        self.f1 = shrink * (h - beyond[:-1, 1:])
        self.f2 = shrink * (h - beyond[1:, :-1])
        x = (2 * c * y + rho * (y - h)) / (2 * c + 2 * d + rho)
        return v + x if paper else i - x


@pytest.mark.parametrize("case", [0, 1, 2])
def test_reference_meets_the_recorded_steps(shared: Path, case: int) -> None:
    golden = np.load(shared / "golden" / "em_steps.npz")

    def recorded(name: str) -> Tensor:
        return torch.from_numpy(golden[f"case{case}_{name}"])

    moving, fixed = recorded("I"), recorded("V")
    state = EMState.initial(1, *moving.shape[2:])
    lamb, rho = recorded("lamb").item(), recorded("rho").item()
    for step in range(3):
        result = em_step(recorded(f"step{step}_f"), moving, fixed, state, lamb=lamb, rho=rho)
        state = result.state
        torch.testing.assert_close(result.fused, recorded(f"step{step}_F"), rtol=0, atol=1e-5)
        tau = torch.stack((state.tau_a, state.tau_b)).flatten().double()
        torch.testing.assert_close(tau, recorded(f"step{step}_tau"), rtol=0, atol=1e-5)


@QUICK
@given(
    st.tuples(SIDES, SIDES),
    st.integers(0, 2**31),
    st.sampled_from(["reference", "paper"]),
    st.booleans(),
    st.floats(0, 2),
)
def test_equals_the_oracle(
    size: tuple[int, int], seed: int, variant: Any, tv: bool, rho: float
) -> None:
    _, moving, fixed = images(seed, 1, 1, *size)
    oracle = Oracle(size)
    state = EMState.initial(1, *size, dtype=torch.float64)
    for step in range(3):
        f = images(seed + step, 1, 1, *size)[0]
        result = em_step(f, moving, fixed, state, lamb=0.3, rho=rho, variant=variant, tv=tv)
        state = result.state
        arrays = [image[0, 0].numpy() for image in (f, moving, fixed)]
        expected = oracle.step(*arrays, 0.3, rho, paper=variant == "paper", tv=tv)
        np.testing.assert_allclose(result.fused[0, 0].numpy(), expected, atol=1e-9)
        assert state.tau_a.item() == pytest.approx(oracle.tau_a, abs=1e-9)
        assert state.tau_b.item() == pytest.approx(oracle.tau_b, abs=1e-9)


@QUICK
@given(SIDES, SIDES, st.integers(0, 2**31))
def test_tv_prox_is_stationary(height: int, width: int, seed: int) -> None:
    z, f1, f2 = images(seed, 2, 1, height, width)
    h = tv_prox(z, f1, f2, EMState.initial(2, height, width, dtype=torch.float64).tv_spectrum)
    gradient = h - z
    for target, axis in ((f1, -1), (f2, -2)):
        residual = h.roll(-1, axis) - h - target
        gradient = gradient + residual.roll(1, axis) - residual
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-12)


@QUICK
@given(SIDES, SIDES, st.integers(0, 2**31))
def test_transfer_functions_are_forward_differences(height: int, width: int, seed: int) -> None:
    image = images(seed, height, width)[0]
    for otf, axis in zip(finite_difference_otf(height, width), (-1, -2), strict=True):
        filtered = torch.fft.irfft2(torch.fft.rfft2(image) * otf, s=(height, width))
        torch.testing.assert_close(filtered, image.roll(-1, axis) - image, rtol=0, atol=1e-12)
