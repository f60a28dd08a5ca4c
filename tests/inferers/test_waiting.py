"""The host waits for the device a few times before sampling begins, and never while it goes on.

Everything runs on a device that is not here and notes whenever the host has to wait for it.
"""

from __future__ import annotations

import warnings
from collections import Counter
from typing import Any

import pytest
import torch
from elsewhere import ELSEWHERE, elsewhere, moved, there
from inferer_makers import head
from run_cases import RecordingNet
from torch import Tensor

from monai_ddfm.inferers import PRESETS, DDFMInferer

# Two for values that are not finite or out of range, two for what is background in a plane.
CHECKS = 2
LAYOUT = 2
# Of the noise: in each source, windows that tell, and the mean and the level of six groups of them.
NOISE = 2 * (2 + 1 + 2 * 6)


def noisy(depth: int) -> Tensor:
    return head(3, 24, 24, depth)


def smooth(depth: int) -> Tensor:
    """Two sources without noise."""
    axes = [torch.linspace(-1, 1, side) for side in (24, 24, depth)]
    x, y, z = torch.meshgrid(*axes, indexing="ij")
    inside = x**2 + y**2 + z**2 / 2 < 0.8
    pair = (0.5 * x + 0.1 * z, 0.4 * y - 0.2 * x)
    return torch.stack([torch.where(inside, part, -1.0) for part in pair])[None]


def waits(
    monkeypatch: pytest.MonkeyPatch, sources: Tensor, *, compare: bool = False, **options: Any
) -> Counter[str]:
    """Why the host waits while sources are fused elsewhere."""
    with elsewhere(monkeypatch) as device:
        network = moved(RecordingNet())
        fused = DDFMInferer(**options)(there(sources), network)
        seen = Counter(device.seen)
        assert fused.device == ELSEWHERE
        if compare:  # rounding of batches grows in the steps of published presets
            expected = DDFMInferer(**options)(sources, RecordingNet())
            torch.testing.assert_close(fused.cpu(), expected, rtol=0, atol=2e-3)
    return seen


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("make", [noisy, smooth])
def test_neither_slices_nor_steps_make_the_host_wait(
    preset: str, make: Any, monkeypatch: pytest.MonkeyPatch, one_thread: None
) -> None:
    few = waits(monkeypatch, make(3), preset=preset, steps=2, compare=True)
    many = waits(monkeypatch, make(5), preset=preset, steps=3, batch_size=2, noise="independent")
    measures = preset in {"default", "contrast"}
    assert few.total() <= CHECKS + LAYOUT + (NOISE if measures else 0)
    assert many.total() <= CHECKS + LAYOUT + (NOISE if measures else 0)
    assert measures or few == many


@pytest.mark.parametrize("preset", ["default", "paper"])
def test_three_planes_wait_for_their_backgrounds_only(
    preset: str, monkeypatch: pytest.MonkeyPatch, one_thread: None
) -> None:
    few, many = (
        waits(monkeypatch, noisy(16), preset=preset, planes="three", steps=steps)
        for steps in (1, 2)
    )
    assert few == many
    assert sum(n for why, n in few.items() if "layout" in why) == LAYOUT * 4
    assert few.total() <= CHECKS + LAYOUT * 4 + (NOISE if preset == "default" else 0)


def test_pictures_wait_for_each_ones_own_noise(
    monkeypatch: pytest.MonkeyPatch, one_thread: None
) -> None:
    pictures = noisy(4)[0].movedim(3, 0)[1:3]
    few, many = (waits(monkeypatch, pictures, steps=steps) for steps in (1, 3))
    assert few == many
    assert few.total() <= CHECKS + 2 * (LAYOUT + NOISE)


def test_an_early_stop_asks_at_its_late_steps_and_is_told(
    monkeypatch: pytest.MonkeyPatch, one_thread: None
) -> None:
    without, with_stop = (
        waits(monkeypatch, noisy(3), preset="gain", steps=4, early_stop=early_stop)
        for early_stop in (None, 1e-9)
    )
    asked = with_stop - without
    assert asked.total() == 2
    assert all("sampling" in why for why in asked)


def read_back(weights: Tensor) -> None:
    float(weights.mean())


def look_up(weights: Tensor) -> None:
    weights[weights > 0].sum()


def hand_over(weights: Tensor) -> None:
    weights + torch.zeros(3).to(weights.device)


@pytest.mark.parametrize("careless", [read_back, look_up, hand_over])
def test_a_loop_that_waits_is_found(
    careless: Any, monkeypatch: pytest.MonkeyPatch, one_thread: None
) -> None:
    options: dict[str, Any] = {"preset": "reference"}

    def of_careless(steps: int) -> Counter[str]:
        with elsewhere(monkeypatch) as device:
            network = moved(RecordingNet())
            network.register_forward_hook(lambda *_: careless(there(torch.ones(3))))
            DDFMInferer(steps=steps, **options)(there(noisy(3)), network)
            return Counter(device.seen)

    assert of_careless(3).total() - of_careless(2).total() == 1


def test_tensors_of_the_host_do_not_mix(monkeypatch: pytest.MonkeyPatch) -> None:
    with elsewhere(monkeypatch), pytest.raises(RuntimeError, match="two devices"):
        there(torch.ones(3)) + torch.ones(3)
    with elsewhere(monkeypatch), pytest.raises(RuntimeError, match="list of the host"):
        there(torch.ones(3))[[0, 2]]


@pytest.mark.gpu
@pytest.mark.parametrize("preset", PRESETS)
def test_a_gpu_is_not_waited_for_in_further_steps(preset: str) -> None:
    network, volume = RecordingNet().cuda(), noisy(5).cuda()

    def count(steps: int) -> int:
        inferer = DDFMInferer(preset=preset, steps=steps)
        inferer(volume, network)
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as seen:
                warnings.simplefilter("always")
                inferer(volume, network)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        return sum("synchroniz" in str(one.message) for one in seen)

    few, many = count(2), count(4)
    assert few == many
    assert few > 0
