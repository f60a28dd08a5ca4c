"""A picture of one pair: the sources and every method's result, side by side, with labels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from monai_ddfm.apps.benchmark.cases import Case
from monai_ddfm.apps.benchmark.figures import colored
from monai_ddfm.utils.files import NOTICE, atomic_path

__all__ = ["draw_grid"]

_SIDE: Final = 384
_GAP: Final = 8
_LABEL: Final = 24
_BACKGROUND: Final = (13, 15, 18)
_INK: Final = (232, 234, 237)
_WARNING: Final = (255, 180, 84)
_SLICES: Final = 3

Picture = NDArray[np.uint8]


def draw_grid(
    path: Path, case: Case, results: Mapping[str, Tensor], *, captions: Mapping[str, str]
) -> None:
    """Draw one picture, whole or not at all.

    Pictures are shown as they are; of a volume, three slices through the head, in the radiological
    convention.

    Args:
        path: the PNG file.
        case: the sources.
        results: fused luminance [1, 1, H, W(, D)] by label.
        captions: a few figures by label, shown beside it.

    Raises:
        InputError: if the file cannot be written.
    """
    fixed = "visible" if case.modality == "IR" else "MRI"
    if case.noise is None:
        panels = [(fixed, case.fixed), (case.modality, case.moving)]
    else:
        words = f" + {case.noise}"
        noisy = [colored(case, case.image[:, i : i + 1]) for i in (0, 1)]
        panels = [(fixed + words, case.image[0, :1]), (case.modality + words, noisy[1])]
    for label, fused in results.items():
        caption = f"{label}   {captions[label]}" if label in captions else label
        panels.append((caption, colored(case, fused)))
    volume = case.image.ndim == 5
    positions = _positions(case) if volume else [0]
    columns = len(panels) if volume else _columns(len(panels))
    tiles = []
    for position in positions:
        for label, image in panels:
            shown = _axial(image[..., position]) if volume else image
            tiles.append((label if position == positions[0] else "", _pixels(shown)))
    _save(path, tiles, columns=columns, title=str(case.title))


def _columns(count: int) -> int:
    """Return a number of columns that makes a picture a little wider than high."""
    return min(count, max(3, math.ceil(math.sqrt(count * 1.4))))


def _positions(case: Case) -> list[int]:
    """Return the slices below, at and above the middle of the head."""
    mass = case.head().float().sum((0, 1)).cumsum(0)
    shares = torch.linspace(0, 1, _SLICES + 2)[1:-1]
    return [int(torch.searchsorted(mass, share * mass[-1])) for share in shares]


def _axial(image: Tensor) -> Tensor:
    """Turn a slice of an RAS volume [C, R, A] so that anterior is up and the right is left."""
    return image.transpose(-1, -2).flip((-2, -1))


def _pixels(image: Tensor) -> Picture:
    """Return [h, w, 3] of an image [1 or 3, H, W] in [0, 1]."""
    levels = (image.clamp(0, 1) * 255).round().byte().expand(3, -1, -1)
    return np.ascontiguousarray(levels.permute(1, 2, 0).numpy())


def _save(path: Path, tiles: Sequence[tuple[str, Picture]], *, columns: int, title: str) -> None:
    height, width = tiles[0][1].shape[:2]
    scale = _SIDE / max(height, width)
    size = (round(width * scale), round(height * scale))
    rows = math.ceil(len(tiles) / columns)
    cell = (size[0] + _GAP, size[1] + _LABEL + _GAP)
    canvas = Image.new("RGB", (columns * cell[0] + _GAP, rows * cell[1] + 2 * _LABEL), _BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    heading, font = ImageFont.load_default(15), ImageFont.load_default(13)
    draw.text((_GAP, 4), title, fill=_INK, font=heading)
    draw.text(
        (canvas.width - _GAP, canvas.height - 6), NOTICE, fill=_WARNING, font=font, anchor="rs"
    )
    for number, (label, picture) in enumerate(tiles):
        left, top = _GAP + number % columns * cell[0], _LABEL + number // columns * cell[1]
        draw.text((left, top + 4), _fitted(label, font, size[0]), fill=_INK, font=font)
        tile = Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC)
        canvas.paste(tile, (left, top + _LABEL))
    about = PngInfo()
    about.add_text("Title", title)
    about.add_text("Description", NOTICE)
    with atomic_path(path) as temporary:
        canvas.save(temporary, format="PNG", pnginfo=about)


def _fitted(label: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """Shorten a label to a width in pixels."""
    if font.getlength(label) <= width:
        return label
    while label and font.getlength(label + "...") > width:
        label = label[:-1]
    return label + "..."
