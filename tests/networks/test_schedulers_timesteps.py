"""Respacing against known selections, and the tables of the noise schedule."""

from __future__ import annotations

import dataclasses
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.networks.schedulers import DDPMScheduler

from monai_ddfm.errors import InputError
from monai_ddfm.networks.schedulers import (
    NoiseSchedule,
    cosine_betas,
    linear_betas,
    space_timesteps,
)

# --- which timesteps


def test_ten_steps_are_the_recorded_ones(shared: Path) -> None:
    golden = np.load(shared / "golden" / "ddim_em_0.npz")
    assert space_timesteps(1000, 10) == tuple(golden["timestep_map"].tolist())


@pytest.mark.parametrize(
    ("length", "counts", "expected"),
    [
        (10, 1, (0,)),
        (10, 10, tuple(range(10))),
        (10, 4, (0, 3, 6, 9)),
        (10, 3, (0, 4, 9)),
        (6, [3, 1], (0, 1, 2, 3)),
        (7, [2, 2], (0, 3, 4, 6)),
        (1000, "25", space_timesteps(1000, 25)),
        (1000, "ddim25", tuple(range(0, 1000, 40))),
        (1000, "ddim1", (0,)),
        (1000, "ddim1000", tuple(range(1000))),
        (20, np.int64(2), (0, 19)),
    ],
)
def test_spaced_timesteps_are_those_of_known_selections(
    length: int, counts: Any, expected: tuple[int, ...]
) -> None:
    assert space_timesteps(length, counts) == expected


def test_sections_have_their_own_strides() -> None:
    steps = space_timesteps(300, "10,15,20")
    assert steps == space_timesteps(300, [10, 15, 20])
    thirds = [[step for step in steps if step // 100 == third] for third in range(3)]
    assert [len(third) for third in thirds] == [10, 15, 20]
    assert [(third[0], third[-1]) for third in thirds] == [(0, 99), (100, 199), (200, 299)]


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.integers(2, 2000), st.data())
def test_strides_are_fractional(length: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(2, length))
    steps = space_timesteps(length, count)
    assert (len(steps), steps[0], steps[-1]) == (count, 0, length - 1)
    for number, step in enumerate(steps):
        exact = Fraction(number * (length - 1), count - 1)
        assert abs(step - exact) <= Fraction(1, 2) + Fraction(1, 10**6)


@pytest.mark.parametrize(
    "counts", [0, -3, 1001, "ddim999", "ddim", "ten", "10,,2", [], [600, 2], 2.5, "ddim10,10", None]
)
def test_impossible_selections_are_refused(counts: Any) -> None:
    with pytest.raises(InputError):
        space_timesteps(1000, counts)


# --- the tables


def test_linear_betas_scale_with_the_length() -> None:
    betas = linear_betas(1000)
    assert (betas[0], betas[-1], len(betas)) == (1e-4, 2e-2, 1000)
    assert np.diff(betas) == pytest.approx((2e-2 - 1e-4) / 999)
    assert linear_betas(100)[::99] == pytest.approx((1e-3, 0.2))


def test_linear_process_equals_monai() -> None:
    schedule = NoiseSchedule.spaced(1000)
    theirs = DDPMScheduler(1000, schedule="linear_beta", beta_start=1e-4, beta_end=2e-2)
    ours = torch.tensor(schedule.train_alphas_cumprod)
    torch.testing.assert_close(ours, theirs.alphas_cumprod.float(), rtol=1e-4, atol=1e-7)


def test_cosine_betas_follow_the_cosine() -> None:
    schedule = NoiseSchedule.spaced(50, betas="cosine")

    def signal(share: float) -> float:
        return math.cos((share + 0.008) / 1.008 * math.pi / 2) ** 2

    for timestep in (0, 1, 500, 998):
        power = signal((timestep + 1) / 1000) / signal(0)
        assert schedule.train_alphas_cumprod[timestep] == pytest.approx(power, rel=1e-9)
    assert max(cosine_betas(1000)) == 0.999


def test_respaced_process_has_the_signal_power_of_the_whole_one() -> None:
    schedule = NoiseSchedule.spaced("3,5,9")
    assert schedule.timesteps == space_timesteps(1000, "3,5,9")[::-1]
    assert len(schedule) == 17
    cumulative = np.cumprod(1 - np.array(schedule.betas[::-1]))[::-1]
    np.testing.assert_allclose(cumulative, schedule.alphas_cumprod, rtol=1e-12)
    whole = np.cumprod(1 - np.array(schedule.train_betas))
    np.testing.assert_allclose(schedule.alphas_cumprod, whole[list(schedule.timesteps)], rtol=1e-12)
    assert schedule.alphas_cumprod_prev == (*schedule.alphas_cumprod[1:], 1.0)


def test_the_whole_process_respaced_is_itself() -> None:
    schedule = NoiseSchedule.spaced(1000)
    np.testing.assert_allclose(schedule.betas[::-1], schedule.train_betas, rtol=1e-9)


def test_schedule_is_immutable() -> None:
    schedule = NoiseSchedule.spaced(5)
    with pytest.raises(dataclasses.FrozenInstanceError):
        schedule.timesteps = (1,)  # type: ignore[misc]
    tables = (schedule.betas, schedule.alphas_cumprod, schedule.train_alphas_cumprod)
    assert all(isinstance(table, tuple) for table in tables)
    assert hash(schedule) == hash(NoiseSchedule.spaced(5))


@pytest.mark.parametrize("timesteps", [(), (1000,), (-1,), (3, 3), (0, 1)])
def test_wrong_timesteps_are_refused(timesteps: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="timesteps"):
        NoiseSchedule(linear_betas(), timesteps)


def test_wrong_betas_are_refused() -> None:
    with pytest.raises(InputError, match="beta"):
        NoiseSchedule((0.1, 1.0), (1, 0))
    with pytest.raises(InputError, match="21"):
        linear_betas(20)
    with pytest.raises(InputError, match="1 timestep"):
        cosine_betas(0)
    with pytest.raises(InputError, match="unknown"):
        NoiseSchedule.spaced(5, betas="square")  # type: ignore[arg-type]


def test_index_at_finds_the_start() -> None:
    schedule = NoiseSchedule(linear_betas(), (900, 500, 100))
    assert [schedule.index_at(t) for t in (999, 900, 899, 500, 100)] == [0, 0, 1, 1, 2]
    with pytest.raises(InputError, match="99"):
        schedule.index_at(99)
