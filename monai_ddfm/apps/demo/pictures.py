"""A simulated pair of pictures, visible and infrared: a street at dusk, half hidden by smoke.

The visible picture has colors, texture and a sign that is cold; smoke hides the person. The
infrared one has no colors and no texture, but sees through the smoke: what is warm is bright. So a
fusion has to take something from both, and its colors from one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from monai_ddfm.data.writers.pictures import write_picture
from monai_ddfm.errors import InputError

__all__ = ["PicturePair", "make_picture_pair", "simulate_street"]

_SMALLEST = 32
# Left, top, right, bottom as shares of the picture; color in the visible, warmth in the infrared.
_PARTS = (
    ((0.05, 0.30, 0.42, 0.72), (0.62, 0.33, 0.25), 0.36),  # house
    ((0.58, 0.22, 0.94, 0.72), (0.72, 0.62, 0.40), 0.33),  # house
    ((0.10, 0.40, 0.18, 0.54), (0.95, 0.82, 0.45), 0.62),  # lit window
    ((0.28, 0.40, 0.36, 0.54), (0.20, 0.22, 0.30), 0.42),  # dark window
    ((0.66, 0.32, 0.74, 0.46), (0.20, 0.22, 0.30), 0.42),
    ((0.80, 0.32, 0.88, 0.46), (0.95, 0.82, 0.45), 0.60),
    ((0.70, 0.76, 0.96, 0.88), (0.15, 0.30, 0.65), 0.40),  # car
    ((0.88, 0.77, 0.96, 0.87), (0.13, 0.26, 0.58), 0.88),  # its engine
    ((0.45, 0.34, 0.53, 0.44), (0.10, 0.55, 0.30), 0.26),  # sign
    ((0.485, 0.44, 0.495, 0.74), (0.45, 0.45, 0.47), 0.26),
)
_PERSON = (0.24, 0.80)


@dataclass(frozen=True, slots=True)
class PicturePair:
    """Where the pair lies.

    Attributes:
        visible: RGB picture.
        infrared: gray picture of the same size.
    """

    visible: Path
    infrared: Path


def make_picture_pair(
    folder: str | Path, *, width: int = 256, height: int = 192, seed: int = 0
) -> PicturePair:
    """Write the pair as ``VIS/street.png`` and ``IR/street.png``.

    Args:
        folder: made if need be.
        width: of the pictures in pixels, at least 32.
        height: of the pictures in pixels, at least 32.
        seed: of texture and noise.

    Raises:
        InputError: if the size is too small or the files cannot be written.
    """
    visible, infrared = simulate_street(width=width, height=height, seed=seed)
    paths = [Path(folder) / name / "street.png" for name in ("VIS", "IR")]
    for path, image in zip(paths, (visible, infrared), strict=True):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"Cannot write {path}: {error.strerror}.") from error
        write_picture(path, image, title="simulated")
    return PicturePair(*paths)


def simulate_street(
    *, width: int = 256, height: int = 192, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute the pair.

    Args:
        width: in pixels, at least 32.
        height: in pixels, at least 32.
        seed: of texture and noise.

    Returns:
        Visible [3, H, W] and infrared [1, H, W], both in [0, 1].

    Raises:
        InputError: if the size is too small.
    """
    if min(width, height) < _SMALLEST:
        raise InputError(f"a picture of {width} x {height} is too small; give 32 or more.")
    generator = np.random.default_rng(seed)
    y, x = (np.mgrid[:height, :width] + 0.5) / np.array([height, width])[:, None, None]
    visible, warmth = _ground(x, y)
    for (left, top, right, bottom), color, warm in _PARTS:
        inside = (x >= left) & (x < right) & (y >= top) & (y < bottom)
        visible[:, inside] = np.array(color)[:, None]
        warmth[inside] = warm
    texture = ndimage.gaussian_filter(generator.standard_normal((height, width)), 0.7)
    visible *= 1 + 0.12 * texture * (y > 0.25)
    person = _person(x, y)
    visible[:, person], warmth[person] = np.array([0.25, 0.18, 0.20])[:, None], 0.97
    smoke = np.exp(-(((x - _PERSON[0]) / 0.17) ** 2) - ((y - _PERSON[1]) / 0.2) ** 2)
    visible += 0.92 * smoke * (0.55 - visible)
    infrared = ndimage.gaussian_filter(warmth, 0.8)[None]
    noise = [generator.standard_normal(image.shape) for image in (visible, infrared)]
    return (
        np.clip(visible + 0.008 * noise[0], 0, 1),
        np.clip(infrared + 0.012 * noise[1], 0, 1),
    )


def _ground(
    x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return sky, grass and street: colors [3, H, W] and warmth [H, W]."""
    high, low = np.array([0.16, 0.22, 0.45]), np.array([0.85, 0.50, 0.30])
    share = np.clip(y / 0.5, 0, 1)
    visible = high[:, None, None] * (1 - share) + low[:, None, None] * share
    warmth = 0.05 + 0.08 * share
    grass, street = (y >= 0.68) & (y < 0.78), y >= 0.78
    visible[:, grass], warmth[grass] = np.array([0.22, 0.42, 0.16])[:, None], 0.20
    visible[:, street], warmth[street] = np.array([0.30, 0.30, 0.32])[:, None], 0.30
    marks = street & (np.abs(y - 0.93) < 0.012) & (np.floor(x * 10) % 2 == 0)
    visible[:, marks] = 0.85
    return visible, warmth


def _person(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.bool_]:
    across, down = x - _PERSON[0], y - _PERSON[1]
    head = (across / 0.022) ** 2 + ((down + 0.145) / 0.032) ** 2 < 1
    body = (np.abs(across) < 0.03) & (np.abs(down + 0.05) < 0.065)
    legs = (np.abs(np.abs(across) - 0.017) < 0.011) & (down >= 0.01) & (down < 0.12)
    person: NDArray[np.bool_] = head | body | legs
    return person
