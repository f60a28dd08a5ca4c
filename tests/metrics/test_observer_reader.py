"""The reader in gray and in color, efficiencies, and thresholds on uniform background."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from monai_ddfm.errors import InputError
from monai_ddfm.metrics.observer import (
    SIGNALS,
    Detection,
    Lesion,
    Outputs,
    Place,
    Reader,
    centers,
    detect,
    detectability,
    induced_noise,
    jnd_index,
    lesion_profile,
    noise_for_threshold,
    threshold_contrast,
)
from monai_ddfm.utils.color import lab_to_rgb

pytestmark = pytest.mark.usefixtures("one_thread_throughout")

PLACE = Place(40, 44)


def textured(number: int, *, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 50 + 8 * torch.randn(number, 80, 90, generator=generator).double()


def test_an_isoluminant_lesion_is_seen_in_color_alone() -> None:
    lightness = textured(40)
    lesion = lesion_profile((80, 90), PLACE, lesion=Lesion(width=12)).double()
    plain = torch.stack([lightness, *torch.zeros(2, *lightness.shape)], 1)
    tinted = plain + torch.stack([0 * lesion, 20 * lesion, -10 * lesion])
    reader, places = Reader(), centers([PLACE])
    colored = [reader.look([lab_to_rgb(lab)], places)[:, 0] for lab in (plain, tinted)]
    assert float(detectability(*colored, internal_noise=0.05)) > 1.5
    # L is the same in both, so that a reader of lightness is blind to it.
    gray = [lab[:, :1] / 100 for lab in (plain, tinted)]
    blind = [reader.look([image], places)[:, 0] for image in gray]
    assert float(detectability(*blind, internal_noise=0.05)) == 0


def test_color_is_seen_by_eight_channels_and_gray_has_no_chroma() -> None:
    gray = (textured(3) / 100).clamp(0, 1)[:, None].expand(-1, 3, -1, -1)
    seen = Reader().look([gray], centers([PLACE, Place(30, 30)]))
    assert seen.shape == (3, 2, 8)
    assert float(seen[..., 4:].abs().max()) < 1e-12
    assert float(seen[..., :4].abs().max()) > 0.01


def test_side_by_side_is_seen_by_the_channels_of_both() -> None:
    first, second = torch.rand(2, 5, 1, 80, 90, generator=torch.Generator().manual_seed(0))
    places, reader = centers([PLACE]), Reader()
    both = reader.look([first, second], places)
    assert torch.equal(both[..., :4], reader.look([first], places))
    assert torch.equal(both[..., 4:], reader.look([second], places))


def outputs(seed: int, *, fixed: float, moving: float) -> Outputs:
    """Outputs of an image that shows so much of each source's signals."""
    generator = torch.Generator().manual_seed(seed)
    absent = torch.randn(80, 4, generator=generator).double()
    shift = torch.tensor([1.0, 2.0, 1.0, 0.0], dtype=torch.float64)
    present = [absent + (fixed * f + moving * m) * shift for f, m in SIGNALS.values()]
    return Outputs(absent, torch.stack(present))


def find(seen: Outputs, **options: int) -> Detection:
    fixed, moving = outputs(1, fixed=1, moving=0), outputs(2, fixed=0, moving=1)
    return detect(seen, fixed=fixed, moving=moving, internal_noise=0.05, **options)


def test_the_sources_themselves_show_their_own_signals_alone() -> None:
    fixed = find(outputs(1, fixed=1, moving=0), bootstrap=0)
    assert fixed.efficiency[:4] == pytest.approx((1, 1, 0, 0))
    moving = find(outputs(2, fixed=0, moving=1), bootstrap=0)
    assert moving.efficiency[:4] == pytest.approx((0, 0, 1, 1))
    # What both hold is measured against the better of them.
    better = [max(pair) for pair in zip(fixed.found, moving.found, strict=True)]
    assert fixed.reference[4:] == pytest.approx(better[4:])
    assert all(math.isnan(end) for pair in fixed.interval for end in pair)


def test_an_average_loses_what_is_opposed() -> None:
    found = find(outputs(1, fixed=0.5, moving=0.5))
    assert found.efficiency[0] == pytest.approx(0.5, rel=0.01)
    assert found.efficiency[6:] == pytest.approx((0, 0), abs=1e-6)
    assert found.summary == pytest.approx(
        (min(found.efficiency[:4]), min(found.efficiency), np.mean(found.efficiency))
    )
    assert found.places == 80
    assert found.area[6] == pytest.approx(0.5)


def test_intervals_hold_the_value_and_depend_on_the_seed() -> None:
    seen = outputs(3, fixed=0.7, moving=0.6)
    found = find(seen, seed=4)
    assert found == find(seen, seed=4)
    assert found.interval != find(seen, seed=5).interval
    for value, (low, high) in zip(found.efficiency, found.interval, strict=True):
        assert low < value < high
        assert high - low < value
    assert all(low <= high for low, high in found.summary_interval)


def test_jnd_index_is_that_of_the_standard() -> None:
    # Rows of the table in annex B of PS3.14.
    for index, luminance in ((1, 0.05), (2, 0.0547), (3, 0.0594), (1023, 3993.4040)):
        assert jnd_index(luminance) == pytest.approx(index, abs=0.15)
    with pytest.raises(InputError, match=r"luminance of 0\.01"):
        jnd_index(0.01)


def test_threshold_and_noise_determine_each_other() -> None:
    lesion = Lesion(width=7)
    contrast = threshold_contrast(lesion, internal_noise=0.05, detectability=1.4)
    back = noise_for_threshold(lesion, contrast=contrast, detectability=1.4)
    assert back == pytest.approx(0.05)
    # And the observer, in an otherwise empty image, has just that d'.
    profile = lesion_profile((80, 90), PLACE, lesion=lesion)
    flat = torch.full((4, 1, 80, 90), 0.5)
    seen = [
        Reader().look([image], centers([PLACE]))[:, 0]
        for image in (flat, flat + contrast * profile)
    ]
    assert float(detectability(*seen, internal_noise=0.05)) == pytest.approx(1.4, rel=1e-4)


def test_induced_noise_follows_the_spread_of_the_outputs() -> None:
    generator = torch.Generator().manual_seed(0)
    spread = torch.tensor([0.1, 0.2, 0.4, 0.8], dtype=torch.float64)
    seen = spread * torch.randn(5000, 4, generator=generator).double()
    assert induced_noise(seen) == pytest.approx(0.75 * 0.2 * math.sqrt(2), rel=0.03)
