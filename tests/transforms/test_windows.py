"""Windows as they are written."""

from __future__ import annotations

import pytest

from monai_ddfm.errors import InputError
from monai_ddfm.modalities import Modality
from monai_ddfm.transforms.windows import parse_window


@pytest.mark.parametrize(
    ("spec", "lower", "upper"),
    [
        ("brain", 0, 80),
        ("40/80", 0, 80),
        ("bone", -800, 2000),
        ("Soft-Tissue", -125, 225),
        ("-100..400", -100, 400),
        ("-1e2 .. .4e3", -100, 400),
        ("50.5 / 101", 0, 101),
    ],
)
def test_window_of_ct(spec, lower, upper):
    window = parse_window(spec, Modality.CT)
    assert (window.lower, window.upper) == (lower, upper)
    assert window.percents == (False, False)


@pytest.mark.parametrize(
    ("spec", "lower", "upper", "percents"),
    [
        ("1%..99%", 1, 99, (True, True)),
        ("0..99.9%", 0, 99.9, (False, True)),
        ("maximum", 0, 100, (False, True)),
        ("0..10", 0, 10, (False, False)),
        ("air..99%", 0.5, 99, (True, True)),
    ],
)
def test_window_of_pet(spec, lower, upper, percents):
    window = parse_window(spec, Modality.PET)
    assert (window.lower, window.upper, window.percents) == (lower, upper, percents)


@pytest.mark.parametrize("modality", list(Modality))
@pytest.mark.parametrize(
    "spec", ["", "0", "10..0", "5..5", "40/0", "1%..101%", "nan..1", "0..1e999"]
)
def test_window_without_sense_is_refused(spec, modality):
    with pytest.raises(InputError, match="window '"):
        parse_window(spec, modality)


def test_window_of_another_modality_is_refused():
    with pytest.raises(InputError, match="unknown for PET; use maximum, cerebellum"):
        parse_window("brain", Modality.PET)
    with pytest.raises(InputError, match="unknown for CT; use fusion, body, brain"):
        parse_window("cerebellum", Modality.CT)
