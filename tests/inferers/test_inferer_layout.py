"""Which slices of a volume are sampled, which part of them, and how they are padded."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from monai_ddfm.inferers.layout import SliceLayout, cut, foreground, pad_to_frame


def background(slices: int, height: int, width: int) -> Tensor:
    return torch.full((slices, 2, height, width), -1.0)


def layout_of(slices: Tensor, divisor: int = 8, *, crop: bool = True) -> SliceLayout:
    return SliceLayout.of(slices, divisor=divisor, crop=crop, together=True)


def test_foreground_is_what_either_source_shows() -> None:
    slices = background(3, 14, 15)
    slices[0, 0, 4, 5] = 0.5
    slices[2, 1, 11, 13] = -0.2
    slices[2, 1, 0:9, 0:9] = -0.985  # within what counts as background
    mask = foreground(slices, together=True)
    assert mask.shape == (3, 14, 15)
    expected = torch.zeros_like(mask)
    expected[0, 2:7, 3:8] = True
    expected[2, 9:14, 11:15] = True
    assert torch.equal(mask, expected)


def test_noisy_pixels_of_the_background_are_no_foreground() -> None:
    slices = background(1, 60, 60)
    slices[0, 0, ::5, ::5] = -0.6
    assert not foreground(slices, together=True).any()
    assert layout_of(slices).patches == ()


def test_unrelated_slices_have_their_own_background() -> None:
    slices = background(2, 4, 4)
    slices[1] = 0.25
    assert foreground(slices, together=True).flatten(1).any(dim=1).tolist() == [False, True]
    assert not foreground(slices, together=False).any()


def test_nothing_to_sample() -> None:
    layout = layout_of(background(4, 20, 30))
    assert layout.patches == ()
    assert (layout.height, layout.width) == (20, 30)


def test_every_slice_has_its_own_patch_with_a_margin() -> None:
    slices = background(40, 100, 120)
    slices[1, 0, 40:50, 60:61] = 1.0
    slices[33, 1, 45:60, 20:25] = 1.0  # far enough to be in another chunk
    slices[34, 0, :, :] = 1.0
    first, second, third = layout_of(slices, divisor=8).patches
    assert (first.number, first.top, first.left) == (1, 29, 45)
    assert first.size == (32, 32)
    assert (second.number, second.size) == (33, (64, 32))
    assert second.top <= 35
    assert second.top + 64 >= 70
    assert (third.number, third.top, third.left, third.size) == (34, 0, 0, (104, 120))


def test_without_cropping_everything_is_kept_of_a_slice() -> None:
    slices = background(3, 30, 21)
    slices[2, 0, 10, 10] = 1.0
    layout = layout_of(slices, divisor=16, crop=False)
    (patch,) = layout.patches
    assert (patch.number, patch.top, patch.left, patch.size) == (2, 0, 0, (32, 32))
    assert layout.frame == (32, 32)


def test_real_neighbors_come_before_reflections() -> None:
    slices = background(1, 64, 33)
    slices[0, 0, 30:32, 10:20] = 1.0
    (patch,) = layout_of(slices, divisor=32).patches
    assert patch.size == (32, 32)
    assert patch.top + patch.height <= 64
    assert patch.left + patch.width <= 33


@given(
    size=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    divisor=st.sampled_from([1, 2, 8, 16, 32, 48]),
    crop=st.booleans(),
    seed=st.integers(0, 10_000),
)
def test_the_patch_holds_the_foreground_and_fits_the_network(
    size: tuple[int, int], divisor: int, crop: bool, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    slices = background(2, *size)
    row, column = (int(torch.randint(side, (1,), generator=generator)) for side in size)
    rows, columns = slice(row, row + 9), slice(column, column + 5)
    slices[1, 0, rows, columns] = torch.rand(slices[1, 0, rows, columns].shape, generator=generator)
    slices[1, 1, row, column] = 1.0
    layout = layout_of(slices, divisor, crop=crop)
    (patch,) = layout.patches
    assert patch.number == 1
    assert patch.height % divisor == patch.width % divisor == 0
    assert layout.frame[0] - size[0] < divisor
    assert layout.frame[1] - size[1] < divisor
    assert 0 <= patch.top <= patch.top + patch.height <= layout.frame[0]
    assert 0 <= patch.left <= patch.left + patch.width <= layout.frame[1]
    window = patch.window(height=size[0], width=size[1])
    outside = foreground(slices, together=True)
    outside[1][window] = False
    assert not outside.any()
    part = cut(pad_to_frame(slices[1:], layout.frame), [patch])
    assert part.shape == (1, 2, *patch.size)
    back = background(2, *size)
    layout.place(part[0], patch, back)
    assert torch.equal(back[(1, slice(None), *window)], slices[(1, slice(None), *window)])


def test_padding_reflects() -> None:
    row = torch.arange(6.0).expand(1, 2, 5, 6)
    assert pad_to_frame(row, (5, 10))[0, 0, 0].tolist() == [0, 1, 2, 3, 4, 5, 4, 3, 2, 1]
    column = row.transpose(2, 3).contiguous()[..., :5, :]
    assert pad_to_frame(column, (8, 5))[0, 0, :, 0].tolist() == [0, 1, 2, 3, 4, 3, 2, 1]


@pytest.mark.parametrize("size", [(1, 9), (9, 1), (1, 1), (2, 3)])
def test_what_is_too_small_to_reflect_is_repeated(size: tuple[int, int]) -> None:
    slices = torch.rand(1, 2, *size, generator=torch.Generator().manual_seed(0))
    padded = pad_to_frame(slices, (32, 32))
    assert padded.shape == (1, 2, 32, 32)
    assert torch.equal(padded[..., -1, -1], slices[..., -1, -1])
