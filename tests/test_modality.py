"""Names of modalities."""

from __future__ import annotations

import pytest

from monai_ddfm.errors import InputError
from monai_ddfm.modalities import Modality


@pytest.mark.parametrize(
    ("name", "modality"),
    [("pt", "PET"), ("NM", "SPECT"), (" ct ", "CT"), ("mri", "MR"), (Modality.PET, "PET")],
)
def test_modality_is_parsed(name, modality):
    assert Modality.parse(name) is Modality(modality)
    assert str(Modality.parse(name)) == modality


def test_unknown_modality_is_refused():
    with pytest.raises(InputError, match="'XYZ' is unknown; use CT, PET, SPECT, US or MR"):
        Modality.parse("XYZ")
