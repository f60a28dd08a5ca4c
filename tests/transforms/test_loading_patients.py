"""Volumes of two patients are not taken for a pair, unless one says so."""

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor

from monai_ddfm.errors import InputError
from monai_ddfm.transforms.loading import CheckSamePatientd
from monai_ddfm.utils.reports import reports_of


def pair(fixed_id: str, moving_id: str) -> dict[str, MetaTensor]:
    return {
        key: MetaTensor(torch.rand(1, 3, 3, 3), meta={"patient_id": name, "filename_or_obj": key})
        for key, name in (("fixed", fixed_id), ("moving", moving_id))
    }


def test_patients_are_compared() -> None:
    check = CheckSamePatientd()
    assert reports_of(check(pair("12", "12 "))["moving"])["patient"]["same"] is True
    assert reports_of(check(pair("12", ""))["moving"])["patient"]["same"] is None
    with pytest.raises(InputError, match="different patients") as caught:
        check(pair("12", "13"))
    assert "13" not in str(caught.value)
    allowed = CheckSamePatientd(allow_mismatch=True)(pair("12", "13"))["moving"]
    assert reports_of(allowed)["patient"] == {"same": False, "mismatch_allowed": True}
