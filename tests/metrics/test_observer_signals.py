"""What is put into the sources, and where."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_ddfm.errors import InputError
from monai_ddfm.metrics.observer import (
    SIGNALS,
    Lesion,
    Place,
    lesion_profile,
    place_lesions,
    with_signals,
)

pytestmark = pytest.mark.usefixtures("one_thread_throughout")

seeds = st.integers(0, 2**31 - 1)


def disk(size: int = 200, radius: float = 90) -> torch.Tensor:
    offset = torch.arange(size) - size // 2
    return offset[:, None] ** 2 + offset**2 < radius**2


def test_the_eight_signals_are_what_their_names_say() -> None:
    image = torch.full((2, 60, 70), 0.5)
    stack = with_signals(image, [Place(30, 40)], lesion=Lesion(contrast=0.2))
    change = (stack - image)[:, :, 30, 40]
    expected = {
        "fixed +": [0.2, 0],
        "fixed -": [-0.2, 0],
        "moving +": [0, 0.2],
        "moving -": [0, -0.2],
        "both +": [0.2, 0.2],
        "both -": [-0.2, -0.2],
        "opposed +": [0.2, -0.2],
        "opposed -": [-0.2, 0.2],
    }
    assert list(SIGNALS) == list(expected)
    torch.testing.assert_close(change, torch.tensor(list(expected.values())))


def test_signals_stay_on_the_gray_scale() -> None:
    image = torch.stack([torch.zeros(40, 40), torch.ones(40, 40)])
    stack = with_signals(image, [Place(20, 20)], lesion=Lesion(contrast=0.5))
    assert float(stack.min()) == 0
    assert float(stack.max()) == 1
    names = list(SIGNALS)
    assert torch.equal(stack[names.index("fixed -")], image)
    assert torch.equal(stack[names.index("moving +")], image)


@settings(deadline=None, max_examples=30)
@given(
    width=st.floats(1, 25),
    spacing=st.tuples(st.floats(0.5, 2), st.floats(0.5, 2)),
    turn=st.floats(0, math.pi),
)
def test_a_lesion_has_its_width_in_millimeters(
    width: float, spacing: tuple[float, float], turn: float
) -> None:
    profile = lesion_profile(
        (81, 81), Place(40, 40, turn), lesion=Lesion(width=width), spacing=spacing
    )
    assert profile.dtype == torch.float32
    for step, cut in ((spacing[0], profile[:, 40]), (spacing[1], profile[40])):
        distance = (torch.arange(81) - 40) * step
        expected = 0.5 ** ((distance / (width / 2)) ** 2)
        torch.testing.assert_close(cut, expected.float(), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("shape", ["vessel", "fracture", "bar"])
def test_a_line_is_long_in_its_direction(shape: str) -> None:
    lesion = Lesion(shape=shape, width=3.0)  # type: ignore[arg-type]
    flat = lesion_profile((121, 121), Place(60, 60, 0.0), lesion=lesion)
    upright = lesion_profile((121, 121), Place(60, 60, math.pi / 2), lesion=lesion)
    torch.testing.assert_close(upright, flat.T, atol=1e-5, rtol=0)
    assert int((flat[60] >= 0.5).sum()) >= 15
    assert int((flat[:, 60] >= 0.5).sum()) == 3
    slanted = lesion_profile((121, 121), Place(60, 60, math.pi / 4), lesion=lesion)
    assert float(slanted[64, 64]) == pytest.approx(1, abs=1e-6)
    assert float(slanted[64, 56]) < 0.05
    assert float(slanted.sum()) == pytest.approx(float(flat.sum()), rel=0.02)


@settings(deadline=None, max_examples=10)
@given(seed=seeds, count=st.integers(1, 60))
def test_places_are_inside_apart_and_all_different(seed: int, count: int) -> None:
    mask = disk()
    groups = place_lesions(mask, count, seed=(seed, "a"), distance=50, margin=8)
    assert groups == place_lesions(mask, count, seed=(seed, "a"), distance=50, margin=8)
    flat = [place for group in groups for place in group]
    assert len(flat) == count
    assert len({(p.row, p.column) for p in flat}) == count
    assert all(0 <= p.angle < math.pi for p in flat)
    for p in flat:
        assert mask[p.row - 8, p.column]
        assert mask[p.row + 8, p.column]
        assert mask[p.row, p.column - 8]
        assert mask[p.row, p.column + 8]
    for group in groups:
        for i, p in enumerate(group):
            for q in group[:i]:
                assert (p.row - q.row) ** 2 + (p.column - q.column) ** 2 >= 50**2


def test_places_fill_the_head_evenly_and_depend_on_the_seed() -> None:
    mask = disk()
    groups = place_lesions(mask, 600, seed=(0, "x"))
    rows = np.array([[p.row, p.column] for group in groups for p in group])
    assert len(groups[0]) >= 4
    # Greedy groups favor the edge a little; the middle must not be left out.
    inner = (((rows - 100) ** 2).sum(1) < 41**2).mean()
    assert 0.1 < inner < 0.4
    other = place_lesions(mask, 600, seed=(0, "y"))
    assert groups != other


def test_refuses_what_cannot_be_placed() -> None:
    with pytest.raises(InputError, match="there is no head"):
        place_lesions(torch.zeros(50, 50, dtype=torch.bool), 5, seed=(0,))
    with pytest.raises(InputError, match="has 9 places for 12 lesions"):
        place_lesions(torch.ones(5, 5, dtype=torch.bool), 12, seed=(0,), margin=1)
    with pytest.raises(InputError, match="0 lesions are unusable"):
        place_lesions(disk(), 0, seed=(0,))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"contrast": 0}, "contrast of 0 is unusable"),
        ({"contrast": 1.5}, "contrast of 1.5 is unusable"),
        ({"contrast": math.nan}, "contrast of nan is unusable"),
        ({"width": 0.1}, "0.1 mm is unusable"),
        ({"shape": "star"}, "shape 'star' is unknown"),
    ],
)
def test_refuses_unusable_lesions(given: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Lesion(**given)  # type: ignore[arg-type]
