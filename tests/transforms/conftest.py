"""An MRI and a PET of one simulated head, which has moved between them."""

from __future__ import annotations

import pytest
from monai.data import MetaTensor
from moved_heads import head, rigid


@pytest.fixture(scope="module")
def fixed() -> MetaTensor:
    return head("MR")


@pytest.fixture(scope="module")
def moved_pet() -> MetaTensor:
    """The head moved by `rigid()`: points of the PET, mapped to points of the head."""
    return head("PET", spacing=6.0, shape=(48, 50, 44), to_head=rigid().GetInverse())
