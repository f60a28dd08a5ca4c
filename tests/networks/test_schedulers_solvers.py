"""Solvers against closed forms, and what all of them share."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from monai_ddfm.errors import InputError
from monai_ddfm.networks.schedulers import (
    DDIMSolver,
    DDPMSolver,
    DPMSolverPP2M,
    NoiseSchedule,
    Solver,
    linear_betas,
)

SOLVERS: dict[str, Callable[[NoiseSchedule], Solver]] = {
    "ddim": DDIMSolver,
    "ddim-1": lambda schedule: DDIMSolver(schedule, eta=1.0),
    "ddpm-small": DDPMSolver,
    "ddpm-large": lambda schedule: DDPMSolver(schedule, variance="fixed_large"),
    "ddpm-learned": lambda schedule: DDPMSolver(schedule, variance="learned_range"),
    "dpm": DPMSolverPP2M,
}


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# --- what solvers share


@pytest.mark.parametrize("doubled", [False, True])
def test_every_prediction_type_gives_x0_back(doubled: bool) -> None:
    schedule = NoiseSchedule.spaced(10)
    x0, epsilon = normal(1, 2, 3, 4, 4), normal(2, 2, 3, 4, 4)
    for index in range(10):
        x_t = schedule.add_noise(x0, index, epsilon)
        power = schedule.alphas_cumprod[index]
        velocity = math.sqrt(power) * epsilon - math.sqrt(1 - power) * x0
        for kind, output in (("epsilon", epsilon), ("v_prediction", velocity), ("sample", x0)):
            solver = DDIMSolver(schedule, prediction_type=kind)  # type: ignore[arg-type]
            given_output = torch.cat((output, output + 9), 1) if doubled else output
            free = solver.predict_x0(given_output, index, x_t, clip=False)
            torch.testing.assert_close(free, x0, rtol=0, atol=1e-10)
            clipped = solver.predict_x0(given_output, index, x_t)
            torch.testing.assert_close(clipped, x0.clamp(-1, 1), rtol=0, atol=1e-10)


def test_half_precision_outputs_do_not_lower_the_image() -> None:
    solver = DDIMSolver(NoiseSchedule.spaced(4))
    x_t = torch.ones(1, 1, 2, 2)
    assert solver.predict_x0(x_t.bfloat16(), 0, x_t).dtype == torch.float32


def test_channels_that_do_not_fit_are_refused() -> None:
    solver = DDIMSolver(NoiseSchedule.spaced(4))
    with pytest.raises(ValueError, match="channels"):
        solver.predict_x0(torch.zeros(1, 3, 2, 2), 0, torch.zeros(1, 1, 2, 2))


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("steps", [1, 7])
def test_the_last_step_lands_on_the_given_x0(name: str, steps: int) -> None:
    solver = SOLVERS[name](NoiseSchedule.spaced(steps))
    x0, x_t = normal(1, 1, 2, 5, 5) * 3, normal(2, 1, 2, 5, 5)
    state = None
    for index in range(steps):
        noise = normal(9 + index, 1, 2, 5, 5) if solver.needs_noise(index) else None
        output = normal(index, 1, 4, 5, 5)
        x_t, state = solver.step(x0, index, x_t, state, noise=noise, model_output=output)
    assert not solver.needs_noise(steps - 1)
    torch.testing.assert_close(x_t, x0, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["ddim-1", "ddpm-small", "ddpm-large", "ddpm-learned"])
def test_missing_noise_is_noticed(name: str) -> None:
    solver = SOLVERS[name](NoiseSchedule.spaced(5))
    image = torch.zeros(1, 1, 2, 2)
    assert solver.needs_noise(0)
    with pytest.raises(ValueError, match="noise"):
        solver.step(image, 0, image, model_output=torch.zeros(1, 2, 2, 2))


def test_the_network_is_given_the_training_timestep() -> None:
    solver = DDPMSolver(NoiseSchedule.spaced(4))
    assert [solver.timestep(index) for index in range(4)] == [999, 666, 333, 0]


def test_options_out_of_range_are_refused() -> None:
    schedule = NoiseSchedule.spaced(4)
    for wrong in (
        lambda: DDIMSolver(schedule, eta=-0.1),
        lambda: DDIMSolver(schedule, eta=float("nan")),
        lambda: DDPMSolver(schedule, variance="huge"),  # type: ignore[arg-type]
        lambda: DPMSolverPP2M(schedule, prediction_type="noise"),  # type: ignore[arg-type]
    ):
        with pytest.raises(InputError):
            wrong()


# --- each solver


def test_ddim_moves_along_the_same_noise() -> None:
    schedule = NoiseSchedule.spaced(12)
    x0, epsilon = normal(1, 1, 1, 4, 4) * 4, normal(2, 1, 1, 4, 4)
    for index in range(11):
        x_t = schedule.add_noise(x0, index, epsilon)
        moved = DDIMSolver(schedule).step(x0, index, x_t).x_prev
        torch.testing.assert_close(moved, schedule.add_noise(x0, index + 1, epsilon))


def test_ddim_with_full_noise_is_ddpm() -> None:
    schedule = NoiseSchedule.spaced("4,9")
    x0, x_t, noise = normal(1, 1, 1, 4, 4), normal(2, 1, 1, 4, 4), normal(3, 1, 1, 4, 4)
    for index in range(13):
        ddim = DDIMSolver(schedule, eta=1.0).step(x0, index, x_t, noise=noise).x_prev
        ddpm = DDPMSolver(schedule).step(x0, index, x_t, noise=noise).x_prev
        torch.testing.assert_close(ddim, ddpm, rtol=0, atol=1e-12)


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0, 50.0])
def test_ddim_keeps_the_marginal_for_any_eta(eta: float) -> None:
    # Given x0, x_t = a x0 + s e must become a' x0 + s' e' with unit variance of e'.
    schedule = NoiseSchedule.spaced(9)
    solver = DDIMSolver(schedule, eta=eta)
    zero, one = torch.zeros(1, 1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    for index in range(8):
        of_x_t = solver.step(zero, index, one, noise=zero).x_prev.item()
        of_noise = solver.step(zero, index, zero, noise=one).x_prev.item()
        variance = of_x_t**2 * (1 - schedule.alphas_cumprod[index]) + of_noise**2
        assert variance == pytest.approx(1 - schedule.alphas_cumprod_prev[index])


def test_ddpm_is_the_posterior_by_bayes() -> None:
    schedule = NoiseSchedule.spaced(10)
    solver = DDPMSolver(schedule)
    x0, x_t = torch.tensor([[0.7]]).double(), torch.tensor([[-1.3]]).double()
    zero, one = torch.zeros(1, 1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    for index in range(9):
        beta, after = schedule.betas[index], schedule.alphas_cumprod_prev[index]
        precision = 1 / (1 - after) + (1 - beta) / beta
        mean = math.sqrt(after) * 0.7 / (1 - after) + math.sqrt(1 - beta) * -1.3 / beta
        ours = solver.step(x0, index, x_t, noise=zero).x_prev.item()
        spread = solver.step(zero, index, zero, noise=one).x_prev.item()
        assert ours == pytest.approx(mean / precision)
        assert spread**2 == pytest.approx(1 / precision)


def test_variances_are_ordered_and_interpolated_in_log_space() -> None:
    schedule = NoiseSchedule.spaced(10)
    zero, one = torch.zeros(1, 1, 1, 3).double(), torch.ones(1, 1, 1, 3).double()
    share = torch.cat((zero, torch.tensor([[[[-1.0, 1.0, 0.0]]]]).double()), 1)

    def deviation(name: str, index: int) -> Tensor:
        solver = SOLVERS[name](schedule)
        return solver.step(zero, index, zero, noise=one, model_output=share).x_prev.flatten()

    for index in range(9):
        small, large = deviation("ddpm-small", index)[0], deviation("ddpm-large", index)[0]
        assert large.item() ** 2 == pytest.approx(schedule.betas[index])
        assert small < large
        expected = torch.stack((small, large, (small * large).sqrt()))
        torch.testing.assert_close(deviation("ddpm-learned", index), expected)


def test_learned_variance_needs_the_output() -> None:
    solver = DDPMSolver(NoiseSchedule.spaced(5), variance="learned_range")
    image = torch.zeros(1, 1, 2, 2)
    for output in (None, image):
        with pytest.raises(ValueError, match="learned"):
            solver.step(image, 0, image, noise=image, model_output=output)


MEAN, SPREAD = 0.3, 0.5


def gaussian_error(make: Callable[[NoiseSchedule], Solver], steps: int) -> float:
    """Distance from the exact flow when the data are normal and the estimate is exact."""
    process = NoiseSchedule(linear_betas(100_000), tuple(range(99_999, -1, -1)))
    power = np.array(process.train_alphas_cumprod)
    half_log_snr = 0.5 * np.log(power / (1 - power))
    targets = np.linspace(half_log_snr[90_000], half_log_snr[2_000], steps + 1)
    timesteps = np.searchsorted(-half_log_snr, -targets)
    schedule = NoiseSchedule(process.train_betas, tuple(timesteps.tolist()))
    solver = make(schedule)

    def deviation(index: int) -> float:
        here = schedule.alphas_cumprod[index]
        return math.sqrt(here * SPREAD**2 + 1 - here)

    def center(index: int) -> float:
        return math.sqrt(schedule.alphas_cumprod[index]) * MEAN

    start = torch.linspace(-2, 2, 9, dtype=torch.float64).reshape(1, 1, 9)
    x_t, state = start, None
    for index in range(steps):
        gain = SPREAD**2 * math.sqrt(schedule.alphas_cumprod[index]) / deviation(index) ** 2
        x0 = MEAN + gain * (x_t - center(index))
        x_t, state = solver.step(x0, index, x_t, state)
    scale = deviation(steps) / deviation(0)
    exact = center(steps) + scale * (start - center(0))
    return (x_t - exact).abs().max().item()


@pytest.mark.parametrize(("name", "order"), [("ddim", 1), ("dpm", 2)])
def test_order_of_convergence(name: str, order: int) -> None:
    errors = [gaussian_error(SOLVERS[name], steps) for steps in (20, 40, 80, 160)]
    measured = [math.log2(coarse / fine) for coarse, fine in itertools.pairwise(errors)]
    assert measured[-1] == pytest.approx(order, abs=0.15)
    assert errors[-1] < (2e-2 if order == 1 else 5e-4)


def test_multistep_state_is_handed_over_not_kept() -> None:
    schedule = NoiseSchedule.spaced(6)
    solver = DPMSolverPP2M(schedule)
    first, second = normal(1, 1, 1, 3, 3), normal(2, 1, 1, 3, 3)
    x_t = normal(3, 1, 1, 3, 3)
    middle, state = solver.step(first, 0, x_t)
    expected = solver.step(second, 1, middle, state).x_prev
    solver.step(second * 5, 3, middle, state)  # another run in between changes nothing
    assert torch.equal(solver.step(second, 1, middle, state).x_prev, expected)
    # Fresh starts are DDIM's, also in the middle; with memory they are not.
    assert torch.equal(
        solver.step(second, 1, middle).x_prev, DDIMSolver(schedule).step(second, 1, middle).x_prev
    )
    assert not torch.allclose(solver.step(second, 1, middle).x_prev, expected)


def test_a_constant_estimate_makes_all_deterministic_solvers_agree() -> None:
    schedule = NoiseSchedule.spaced(8)
    x0, x_t = normal(1, 1, 1, 3, 3), normal(2, 1, 1, 3, 3)
    ddim = dpm = x_t
    state = None
    for index in range(8):
        ddim = DDIMSolver(schedule).step(x0, index, ddim).x_prev
        dpm, state = DPMSolverPP2M(schedule).step(x0, index, dpm, state)
        torch.testing.assert_close(ddim, dpm)


def test_a_batch_equals_its_members_bit_by_bit() -> None:
    schedule = NoiseSchedule.spaced(8)
    x0, x_t, noise = (normal(seed, 3, 1, 31, 33).float() for seed in (1, 2, 3))
    output = normal(4, 3, 2, 31, 33).float()
    for make in SOLVERS.values():
        inputs = {"noise": noise, "model_output": output}
        together = make(schedule).step(x0, 2, x_t, **inputs).x_prev
        for member in range(3):
            only = slice(member, member + 1)
            single = {key: value[only] for key, value in inputs.items()}
            alone = make(schedule).step(x0[only], 2, x_t[only], **single).x_prev
            assert torch.equal(together[only], alone)
