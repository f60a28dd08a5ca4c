"""Entropy and mutual information against hand-made cases and numpy's histograms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from picture_makers import levels

from monai_ddfm.errors import InputError
from monai_ddfm.metrics import entropy, mutual_information, normalized_mutual_information

SEEDS = st.integers(0, 2**32 - 1)


def test_all_256_levels_equally_often_have_eight_bits() -> None:
    image = torch.arange(256.0, dtype=torch.float64).view(1, 16, 16)
    assert entropy(image).item() == pytest.approx(8, abs=1e-12)


@pytest.mark.parametrize(
    ("shares", "bits"), [([1], 0), ([1, 1], 1), ([1, 1, 2], 1.5), ([1, 1, 1, 1, 4], 2)]
)
def test_entropy_of_known_histograms(shares: list[int], bits: float) -> None:
    values = np.repeat(np.arange(len(shares)) * 60, np.array(shares) * 8)
    image = torch.from_numpy(values).double().view(1, -1, 8)
    assert entropy(image).item() == pytest.approx(bits, abs=1e-12)


def test_levels_are_rounded_and_clipped_before_counting() -> None:
    image = torch.tensor([[[-3.0, 0.4, 254.6, 270.0]]], dtype=torch.float64)
    assert entropy(image).item() == pytest.approx(1)


def test_information_about_itself_is_the_entropy() -> None:
    image = levels(0, 3, 40, 30)
    torch.testing.assert_close(mutual_information(image, image), entropy(image))
    torch.testing.assert_close(
        normalized_mutual_information(image, image), torch.ones(3, dtype=torch.float64)
    )


def test_independent_images_share_nothing() -> None:
    rows, columns = torch.meshgrid(
        torch.arange(32.0), torch.arange(48.0), indexing="ij"
    )  # every pair of levels occurs exactly once
    x, y = rows.double().unsqueeze(0), columns.double().unsqueeze(0)
    assert mutual_information(x, y).item() == pytest.approx(0, abs=1e-12)
    assert normalized_mutual_information(x, y).item() == pytest.approx(0, abs=1e-12)


def test_a_relabeled_image_keeps_all_information() -> None:
    image = levels(1, 1, 32, 32)
    torch.testing.assert_close(mutual_information(image, 255 - image), entropy(image))


def test_one_bit_of_two_is_shared() -> None:
    x = torch.tensor([[[0.0, 0, 100, 100, 200, 200, 250, 250]]], dtype=torch.float64)
    y = torch.tensor([[[0.0, 0, 0, 0, 9, 9, 9, 9]]], dtype=torch.float64)
    assert mutual_information(x, y).item() == pytest.approx(1)
    assert mutual_information(x, y, unit="nats").item() == pytest.approx(math.log(2))
    assert normalized_mutual_information(x, y).item() == pytest.approx(2 / 3)


@given(SEEDS, st.integers(1, 255), st.integers(1, 255))
def test_against_numpy(seed: int, top_x: int, top_y: int) -> None:
    x, y = levels(seed, 2, 23, 17, top=top_x), levels(seed + 1, 2, 23, 17, top=top_y)
    edges = np.arange(257)
    for number in range(2):
        joint, _, _ = np.histogram2d(
            x[number].numpy().ravel(), y[number].numpy().ravel(), bins=(edges, edges)
        )
        joint /= joint.sum()
        product = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
        filled = joint > 0
        nats = float((joint[filled] * np.log(joint[filled] / product[filled])).sum())
        found = mutual_information(x[number, None], y[number, None], unit="nats")
        assert found.item() == pytest.approx(nats, abs=1e-10)
    together = mutual_information(x, y)
    torch.testing.assert_close(together, mutual_information(y, x))
    assert bool((together <= torch.minimum(entropy(x), entropy(y)) + 1e-9).all())


def test_constant_images_have_no_normalized_information() -> None:
    flat = torch.full((1, 8, 8), 7.0, dtype=torch.float64)
    assert mutual_information(flat, flat).item() == 0
    assert normalized_mutual_information(flat, flat).isnan().all()


def test_unknown_unit_is_refused() -> None:
    image = levels(0, 1, 8, 8)
    with pytest.raises(InputError, match="'bits' or 'nats'"):
        mutual_information(image, image, unit="dits")  # type: ignore[arg-type]
