"""Which slices of a volume are sampled, which part of them, and how they are padded."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from monai_ddfm.inferers.layout import SliceLayout, crop_and_pad, foreground


def background(slices: int, height: int, width: int) -> Tensor:
    return torch.full((slices, 2, height, width), -1.0)


def layout_of(slices: Tensor, divisor: int = 8, *, crop: bool = True) -> SliceLayout:
    return SliceLayout.of(slices, divisor=divisor, crop=crop, together=True)


def test_foreground_is_what_either_source_shows() -> None:
    slices = background(3, 4, 5)
    slices[0, 0, 1, 2] = 0.5
    slices[2, 1, 3, 4] = -0.9
    slices[2, 1, 0, 0] = -0.995  # within what counts as background
    mask = foreground(slices, together=True)
    assert mask.shape == (3, 4, 5)
    assert torch.nonzero(mask).tolist() == [[0, 1, 2], [2, 3, 4]]


def test_unrelated_slices_have_their_own_background() -> None:
    slices = background(2, 4, 4)
    slices[1] = 0.25
    assert foreground(slices, together=True).flatten(1).any(dim=1).tolist() == [False, True]
    assert not foreground(slices, together=False).any()


def test_nothing_to_sample() -> None:
    layout = layout_of(background(4, 20, 30))
    assert layout.kept == ()
    assert (layout.height, layout.width) == (20, 30)


def test_a_box_around_the_head_with_a_margin() -> None:
    slices = background(5, 100, 120)
    slices[1, 0, 40:50, 60:61] = 1.0
    slices[3, 1, 45:60, 20:25] = 1.0
    layout = layout_of(slices, divisor=1)
    assert layout.kept == (1, 3)
    assert (layout.top, layout.top + layout.height) == (32, 68)
    assert (layout.left, layout.left + layout.width) == (12, 69)
    assert layout.padding == (0, 0)


def test_without_cropping_everything_is_kept_of_a_slice() -> None:
    slices = background(3, 30, 21)
    slices[2, 0, 10, 10] = 1.0
    layout = layout_of(slices, divisor=16, crop=False)
    assert layout.kept == (2,)
    assert layout.window() == (slice(0, 30), slice(0, 21))
    assert layout.padding == (2, 11)


def test_real_neighbors_come_before_reflections() -> None:
    slices = background(1, 64, 33)
    slices[0, 0, 30:32, 10:20] = 1.0
    layout = layout_of(slices, divisor=32)
    assert layout.height == 32  # 18 rows with the margin, widened by what is there
    assert layout.padding[0] == 0
    assert (layout.width, layout.padding[1]) == (32, 0)


@given(
    size=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    divisor=st.sampled_from([1, 2, 8, 16, 32]),
    crop=st.booleans(),
    seed=st.integers(0, 10_000),
)
def test_the_box_holds_the_foreground_and_fits_the_network(
    size: tuple[int, int], divisor: int, crop: bool, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    slices = background(2, *size)
    row, column = (int(torch.randint(side, (1,), generator=generator)) for side in size)
    rows, columns = slice(row, row + 9), slice(column, column + 5)
    slices[1, 0, rows, columns] = torch.rand(slices[1, 0, rows, columns].shape, generator=generator)
    slices[1, 1, row, column] = 1.0
    layout = layout_of(slices, divisor, crop=crop)
    mask = foreground(slices, together=True)
    inside = torch.zeros_like(mask)
    inside[(slice(None), *layout.window())] = True
    assert not (mask & ~inside).any()
    assert layout.top >= 0
    assert layout.left >= 0
    assert layout.top + layout.height <= size[0]
    assert layout.left + layout.width <= size[1]
    part = crop_and_pad(slices[list(layout.kept)], layout)
    assert part.shape[-2] % divisor == part.shape[-1] % divisor == 0
    assert part.shape[-2] - layout.height < divisor
    assert part.shape[-1] - layout.width < divisor
    box = slices[(list(layout.kept), slice(None), *layout.window())]
    assert torch.equal(part[..., : layout.height, : layout.width], box)


def test_padding_reflects() -> None:
    row = torch.arange(6.0).expand(1, 2, 5, 6)
    layout = SliceLayout((0,), 0, 0, 5, 6, (0, 4))
    assert crop_and_pad(row, layout)[0, 0, 0].tolist() == [0, 1, 2, 3, 4, 5, 4, 3, 2, 1]
    layout = SliceLayout((0,), 0, 0, 5, 6, (3, 0))
    padded = crop_and_pad(row.transpose(2, 3).contiguous()[..., :5, :], layout)
    assert padded[0, 0, :, 0].tolist() == [0, 1, 2, 3, 4, 3, 2, 1]


@pytest.mark.parametrize("size", [(1, 9), (9, 1), (1, 1), (2, 3)])
def test_what_is_too_small_to_reflect_is_repeated(size: tuple[int, int]) -> None:
    slices = torch.rand(1, 2, *size, generator=torch.Generator().manual_seed(0))
    layout = SliceLayout((0,), 0, 0, *size, (-size[0] % 32, -size[1] % 32))
    padded = crop_and_pad(slices, layout)
    assert padded.shape == (1, 2, 32, 32)
    assert torch.equal(padded[..., -1, -1], slices[..., -1, -1])
