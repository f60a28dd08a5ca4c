"""The weight, smoothed from slice to slice."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from run_cases import RecordingNet

from monai_ddfm.errors import InputError
from monai_ddfm.inferers import DDFMInferer, configure
from monai_ddfm.inferers.smoothing import smooth_across_slices
from monai_ddfm.metrics import flicker


def stack(count: int, *, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 2, 12, 10, generator=generator, dtype=torch.float64) * 1.6 - 0.8


@pytest.mark.parametrize(("count", "sigma"), [(9, 1.0), (3, 2.0), (1, 1.0)])
def test_smoothing_equals_an_independent_computation(count: int, sigma: float) -> None:
    slices = stack(count, seed=0)
    weight = (stack(count, seed=1)[:, :1] + 0.8) / 1.6
    result = torch.cat([slices[:, :1] + weight * slices.diff(dim=1), weight], dim=1)
    found = smooth_across_slices(result.float(), slices.float(), sigma=sigma).numpy()
    fixed, moving = slices[:, 0].numpy(), slices[:, 1].numpy()
    counts = np.abs(moving - fixed) + 1e-3
    reach = int(3 * sigma + 0.5)
    for z in range(count):
        near = [k for k in range(count) if abs(k - z) <= reach]
        taps = np.array([np.exp(-0.5 * ((k - z) / sigma) ** 2) for k in near])[:, None, None]
        expected = (taps * counts[near] * weight[near, 0].numpy()).sum(0)
        expected /= (taps * counts[near]).sum(0)
        np.testing.assert_allclose(found[z, 1], expected, atol=1e-5)
        fused = fixed[z] + expected * (moving[z] - fixed[z])
        np.testing.assert_allclose(found[z, 0], fused, atol=1e-5)


@pytest.mark.parametrize("name", ["default", "contrast"])
def test_a_volume_flickers_less_and_stays_between_its_sources(name: str) -> None:
    preset = configure(name, noise_margin=0.0)
    generator = torch.Generator().manual_seed(2)
    base = torch.rand(1, 2, 32, 32, 1, generator=generator)
    volume = (base + 0.05 * torch.randn(1, 2, 32, 32, 12, generator=generator)) * 1.4 - 0.7
    network = RecordingNet()
    plain, smooth = (
        DDFMInferer(preset=preset, smooth_across=sigma)(volume, network)[:, :1]
        for sigma in (0.0, 1.5)
    )
    low, high = volume.amin(1, keepdim=True), volume.amax(1, keepdim=True)
    assert ((smooth >= low - 1e-6) & (smooth <= high + 1e-6)).all()
    before, after = (
        float(flicker((one + 1) / 2, (volume + 1) / 2).mean()) for one in (plain, smooth)
    )
    assert after < before


@pytest.mark.parametrize("sigma", [-1.0, float("inf"), True, "1"])
def test_other_widths_are_refused(sigma: object) -> None:
    with pytest.raises(InputError, match="smoothing across"):
        DDFMInferer(smooth_across=sigma)  # type: ignore[arg-type]
