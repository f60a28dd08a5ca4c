"""The prior's training slices in memory, and the order in which they are drawn.

A *source* is one folder with one kind of content: mosaics, pictures or volumes. Every slice is
brought to one square canvas, so that a batch can be stacked; its pixel size follows.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from monai.data import Dataset
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Sampler

from monai_ddfm.errors import InputError
from monai_ddfm.training import ranks
from monai_ddfm.training.slices import read_slices

__all__ = ["RandomBatches", "SliceDataset", "seed_for_step"]

_log = logging.getLogger(__name__)
_SOURCE_KEYS = {"folder", "tile", "pixel_mm", "part", "slices_per_volume", "repeat"}
_SEED_RANGE = 2**63 - 1


class SliceDataset(Dataset):  # type: ignore[misc]
    """Slices of several sources, held in memory as 8-bit canvases.

    An item has ``image`` (uint8 [1, canvas, canvas]), ``pixel_mm`` (pixel size on the canvas),
    ``detail_mm`` (pixel size before it was brought there), and ``plain`` (uint8 [1, canvas,
    canvas]): the slice as it was acquired, every pixel its own, in the middle of the canvas; of a
    slice larger than the canvas only the middle is there.

    Args:
        sources: mappings with ``folder`` and optionally ``tile``, ``pixel_mm``, ``part`` and
            ``slices_per_volume`` (see `monai_ddfm.training.slices.read_slices`), and ``repeat``:
            how many times each slice counts, default 1.
        canvas: side in pixels of the square that every slice is resampled to.

    Raises:
        InputError: if a source has an unknown key, or its folder is missing, holds no readable
            slice or a broken file.
    """

    def __init__(self, sources: Sequence[Mapping[str, Any]], *, canvas: int = 256) -> None:
        items = []
        for source in sources:
            items += _read_source(source, canvas=canvas) * int(source.get("repeat", 1))
        if not items:
            raise InputError("no source of slices is given; name a folder")
        super().__init__(data=items)


def _read_source(source: Mapping[str, Any], *, canvas: int) -> list[dict[str, Tensor]]:
    if unknown := set(source) - _SOURCE_KEYS:
        raise InputError(
            f"a source of slices has no option {', '.join(sorted(unknown))}; "
            f"it has {', '.join(sorted(_SOURCE_KEYS))}"
        )
    options = {key: source[key] for key in source if key not in {"folder", "repeat"}}
    folder = Path(source["folder"])
    found = [
        _on_canvas(image, pixel_mm, canvas=canvas)
        for image, pixel_mm in read_slices(folder, **options)
    ]
    if not found:
        raise InputError(f"{folder}: no slice with tissue in it; name a folder that has some")
    _log.info("%s: %d slices", folder, len(found))
    return found


def _on_canvas(image: NDArray[np.float32], pixel_mm: float, *, canvas: int) -> dict[str, Tensor]:
    """Centre the slice on a square of its longer side and resample that to the canvas."""
    side = max(image.shape)
    square = _centered(image, side)
    plain = _centered(image, canvas)
    if side != canvas:
        # Pillow's bicubic averages where it reduces, and needs no pool of threads: PyTorch's own
        # takes far longer per slice where cores are shared.
        resized = Image.fromarray(square).resize((canvas, canvas), Image.Resampling.BICUBIC)
        square = np.asarray(resized)
    return {
        "image": _as_bytes(square),
        "plain": _as_bytes(plain),
        "pixel_mm": torch.tensor(pixel_mm * side / canvas),
        "detail_mm": torch.tensor(pixel_mm),
    }


def _centered(image: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Pad with zeros, or cut, to a square of `side` pixels with the same middle."""
    for axis, length in enumerate(image.shape):
        missing = side - length
        before = abs(missing) // 2
        if missing >= 0:
            widths = [(0, 0), (0, 0)]
            widths[axis] = (before, missing - before)
            image = np.pad(image, widths)
        else:
            image = np.take(image, range(before, before + side), axis=axis)
    return image


def _as_bytes(image: NDArray[np.float32]) -> Tensor:
    return torch.from_numpy((image.clip(0, 1) * 255).round().astype(np.uint8))[None]


class _Counter(Protocol):
    """Whatever counts the steps of a run, over all its sessions."""

    iterations: int


class RandomBatches(Sampler[list[int]]):
    """Endless random batches; which indices a step gets depends on its number and nothing else.

    So a resumed run goes on with the batches that the killed one would have seen, however many
    batches the loader had fetched ahead. Every rank of a distributed run takes its own share.

    Args:
        dataset: its length is what counts.
        batch_size: items per step and rank.
        counter: tells how many steps are done when iteration begins.
        seed: of the draw.
    """

    def __init__(
        self, dataset: Dataset, *, batch_size: int, counter: _Counter, seed: int = 0
    ) -> None:
        if not isinstance(batch_size, int) or batch_size < 1:
            raise InputError(f"batch size {batch_size!r} is unusable; give 1 or more")
        self.length = len(dataset)
        self.batch_size = batch_size
        self.counter = counter
        self.seed = seed

    def __iter__(self) -> Iterator[list[int]]:
        """Yield indices of one batch after the other, with replacement."""
        generator = torch.Generator()
        step = self.counter.iterations
        first = ranks.rank() * self.batch_size
        wanted = ranks.world_size() * self.batch_size
        while True:
            generator.manual_seed(seed_for_step(self.seed, step))
            drawn = torch.randint(self.length, (wanted,), generator=generator)
            yield drawn[first : first + self.batch_size].tolist()
            step += 1


def seed_for_step(seed: int, step: int, rank: int = 0) -> int:
    """Return a seed of its own for every step and rank of a run.

    Args:
        seed: of the run.
        step: number of the step.
        rank: number of the process.
    """
    # A plain sum would give step 1 of seed 0 the stream of step 0 of seed 1.
    entropy = [seed % _SEED_RANGE, step, rank]
    mixed: int = np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0].item()
    return mixed % _SEED_RANGE
