r"""The noising process, the timesteps of it that sampling visits, and the tables between them.

The forward process is :math:`x_t = \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\,
\epsilon` with :math:`\bar\alpha_t = \prod_{s \le t} (1 - \beta_s)`. Sampling visits a subset of
the training timesteps; between two visited ones the process has :math:`\beta = 1 -
\bar\alpha_t / \bar\alpha_{prev}`, where ``prev`` is the next *visited* timestep and
:math:`\bar\alpha_{prev} = 1` after the last. Everything is looked up in float64 tables; nothing
assumes equal gaps.

Positions are called `index` and count in sampling order: index 0 is the noisiest.

References:
    [1] A. Nichol and P. Dhariwal, Improved DDPM, arXiv 2102.09672, section 3.2 and 4.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Literal

import numpy as np
from torch import Tensor

from monai_ddfm.errors import InputError

__all__ = ["NoiseSchedule", "cosine_betas", "linear_betas", "space_timesteps"]


def linear_betas(num_timesteps: int = 1000) -> tuple[float, ...]:
    """Return betas from 1e-4 to 2e-2, scaled by 1000 / `num_timesteps`, in float64.

    Raises:
        InputError: if a beta would reach 1, which is so below 21 timesteps.
    """
    if num_timesteps < 21:
        raise InputError(f"linear betas need at least 21 timesteps, not {num_timesteps}.")
    scale = 1000 / num_timesteps
    return tuple(np.linspace(scale * 1e-4, scale * 2e-2, num_timesteps).tolist())


def cosine_betas(num_timesteps: int = 1000) -> tuple[float, ...]:
    """Return the betas of the cosine schedule (arXiv 2102.09672, eq. 17), at most 0.999.

    Raises:
        InputError: if `num_timesteps` is not positive.
    """
    if num_timesteps < 1:
        raise InputError(f"a schedule needs at least 1 timestep, not {num_timesteps}.")
    share = (np.arange(num_timesteps + 1) / num_timesteps + 0.008) / 1.008
    signal = np.cos(share * np.pi / 2) ** 2
    return tuple(np.minimum(1 - signal[1:] / signal[:-1], 0.999).tolist())


def space_timesteps(
    num_timesteps: int, section_counts: int | str | Sequence[int]
) -> tuple[int, ...]:
    """Choose which timesteps of the training process are visited.

    The process is cut into equal sections (earlier ones take the remainder) and each is visited so
    many times, at fractional strides from its first to its last timestep.

    Args:
        num_timesteps: length of the training process.
        section_counts: visits per section as a sequence, a text such as "10,15,20", or one number;
            or "ddimN": exactly N visits with an integer stride from 0.

    Returns:
        Visited timesteps in ascending order, from 0 .. `num_timesteps` - 1.

    Raises:
        InputError: if the visits cannot be placed.
    """
    if isinstance(section_counts, str) and section_counts.startswith("ddim"):
        return _integer_stride(num_timesteps, *_counts(section_counts.removeprefix("ddim")))
    counts = _counts(section_counts)
    size, extra = divmod(num_timesteps, len(counts))
    taken: list[int] = []
    start = 0
    for number, count in enumerate(counts):
        length = size + (number < extra)
        if count > length:
            raise InputError(f"a section of {length} timesteps cannot be visited {count} times.")
        stride = (length - 1) / (count - 1) if count > 1 else 1.0
        # Summed and not multiplied: rounding of halves must fall as in guided diffusion.
        positions = accumulate([0.0] + [stride] * (count - 1))
        taken += [start + round(position) for position in positions]
        start += length
    return tuple(taken)


def _counts(text: int | str | Sequence[int]) -> list[int]:
    """Read a number, a list or a comma-separated text as positive integers."""
    parts = text.split(",") if isinstance(text, str) else text
    try:
        if isinstance(parts, int | np.integer):
            parts = [int(parts)]
        counts = [int(part) if isinstance(part, str) else operator.index(part) for part in parts]
    except (TypeError, ValueError):
        counts = []
    if not counts or min(counts) < 1:
        raise InputError(
            f"steps {text!r} are not usable; give a positive number, a list such as '10,15,20' or"
            " 'ddimN'."
        )
    return counts


def _integer_stride(num_timesteps: int, wanted: int, *more: int) -> tuple[int, ...]:
    """Return `wanted` timesteps from 0 at the smallest integer stride that gives so many."""
    for stride in range(1, num_timesteps + 1):
        visited = range(0, num_timesteps, stride)
        if len(visited) == wanted and not more:
            return tuple(visited)
    raise InputError(
        f"no integer stride visits {wanted} of {num_timesteps} timesteps; use a plain number."
    )


@dataclass(frozen=True)
class NoiseSchedule:
    """A training process and the timesteps at which it is visited; immutable, float64.

    Attributes:
        train_betas: betas of the whole process, each in (0, 1), ascending in time.
        timesteps: visited timesteps in sampling order, strictly descending.

    Raises:
        InputError: if a beta or a timestep is out of range or the order is wrong.
    """

    train_betas: tuple[float, ...]
    timesteps: tuple[int, ...]

    def __post_init__(self) -> None:
        if not all(0 < beta < 1 for beta in self.train_betas):
            raise InputError("every beta must lie between 0 and 1.")
        steps = self.timesteps
        if not steps or steps[-1] < 0 or steps[0] >= len(self.train_betas):
            raise InputError(f"timesteps must lie in 0 .. {len(self.train_betas) - 1}.")
        if any(later >= earlier for earlier, later in pairwise(steps)):
            raise InputError("timesteps must descend strictly.")

    @classmethod
    def spaced(
        cls,
        steps: int | str | Sequence[int],
        *,
        num_timesteps: int = 1000,
        betas: Literal["linear", "cosine"] = "linear",
    ) -> NoiseSchedule:
        """Respace a named process; `steps` as in `space_timesteps`.

        Raises:
            InputError: if the steps cannot be placed or the name is unknown.
        """
        if betas not in {"linear", "cosine"}:
            raise InputError(f"beta schedule {betas!r} is unknown; use 'linear' or 'cosine'.")
        table = linear_betas(num_timesteps) if betas == "linear" else cosine_betas(num_timesteps)
        return cls(table, space_timesteps(num_timesteps, steps)[::-1])

    @classmethod
    def from_noise_level(
        cls,
        level: float,
        *,
        steps: int | str | Sequence[int],
        num_timesteps: int = 1000,
        betas: Literal["linear", "cosine"] = "linear",
    ) -> NoiseSchedule:
        """Visit the end of a named process, from where its noise is as strong as a given one.

        Noise of standard deviation s in an image of full signal is that of the timestep at which
        sqrt(1 - alpha_bar) / sqrt(alpha_bar) = s. The visits lie evenly in log s, from there to the
        half of s, or to timestep 0 if that comes first; those that fall on one timestep are one.

        Args:
            level: standard deviation, not below 0.
            steps: visits at most.
            num_timesteps: length of the process.
            betas: its name.

        Raises:
            InputError: if `steps` is below 1 or the name is unknown.
        """
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
            raise InputError(
                f"steps {steps!r} are not usable from a noise level; give a whole number over 0."
            )
        if steps > num_timesteps:
            raise InputError(
                f"{steps} steps are more than there are; give {num_timesteps} at most."
            )
        whole = cls.spaced(num_timesteps, num_timesteps=num_timesteps, betas=betas)
        power = np.array(whole.train_alphas_cumprod)
        levels = 0.5 * np.log((1 - power) / power)
        first = math.log(max(level, 1e-6))
        wanted = first - math.log(2) * np.arange(steps) / max(1, steps - 1)
        nearest = {int(np.abs(levels - each).argmin()) for each in wanted}
        return cls(whole.train_betas, tuple(sorted(nearest, reverse=True)))

    @cached_property
    def train_alphas_cumprod(self) -> tuple[float, ...]:
        """Signal power of the whole process, ascending in time."""
        return tuple(accumulate((1 - beta for beta in self.train_betas), operator.mul))

    @cached_property
    def alphas_cumprod(self) -> tuple[float, ...]:
        """Signal power at every index."""
        return tuple(self.train_alphas_cumprod[timestep] for timestep in self.timesteps)

    @cached_property
    def alphas_cumprod_prev(self) -> tuple[float, ...]:
        """Signal power after the step at every index; 1 after the last."""
        return (*self.alphas_cumprod[1:], 1.0)

    @cached_property
    def betas(self) -> tuple[float, ...]:
        """Beta of the respaced process at every index."""
        pairs = zip(self.alphas_cumprod, self.alphas_cumprod_prev, strict=True)
        return tuple(1 - here / after for here, after in pairs)

    def __len__(self) -> int:
        """Number of sampling steps."""
        return len(self.timesteps)

    def index_at(self, timestep: int) -> int:
        """Return the index of the noisiest visited timestep that does not exceed `timestep`.

        Raises:
            InputError: if every visited timestep is later.
        """
        for index, visited in enumerate(self.timesteps):
            if visited <= timestep:
                return index
        raise InputError(f"no visited timestep is at or before {timestep}; give a later one.")

    def add_noise(self, x0: Tensor, index: int, noise: Tensor) -> Tensor:
        """Diffuse `x0` to `index`; `noise` is standard normal and of the same shape."""
        power = self.alphas_cumprod[index]
        return math.sqrt(power) * x0 + math.sqrt(1 - power) * noise
