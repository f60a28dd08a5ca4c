"""Fixtures of the tests of the demo: its head, its MRI and its scans, each made once."""

from __future__ import annotations

import pytest
import SimpleITK as sitk
from cohort_makers import anatomy
from demo_scans import scans_of_head, t1_of_head

from monai_ddfm.apps.demo import Anatomy
from monai_ddfm.apps.demo.modalities import Volume


@pytest.fixture(scope="module")
def head() -> Anatomy:
    return anatomy()


@pytest.fixture(scope="module")
def t1() -> Volume:
    return t1_of_head()


@pytest.fixture(scope="module")
def scans() -> dict[str, tuple[Volume, sitk.Euler3DTransform]]:
    return scans_of_head()
