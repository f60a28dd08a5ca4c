"""What MONAI's users import: the names of a room from the room itself."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys

import pytest
from monai.transforms import Transform

import monai_ddfm.transforms

ROOMS = ("transforms", "inferers", "metrics")


@pytest.mark.parametrize("room", ROOMS)
def test_every_public_name_of_a_room_is_there(room: str) -> None:
    module = importlib.import_module(f"monai_ddfm.{room}")
    assert [name for name in module.__all__ if not hasattr(module, name)] == []
    assert len(set(module.__all__)) == len(module.__all__)
    with pytest.raises(AttributeError, match="'Nonsense'"):
        module.Nonsense  # noqa: B018 - asked for


def test_every_public_transform_is_offered_by_its_room() -> None:
    room, missing = monai_ddfm.transforms, []
    for module in pkgutil.iter_modules(room.__path__, f"{room.__name__}."):
        if module.name.endswith("_child"):
            continue  # a program
        home = importlib.import_module(module.name)
        for name in getattr(home, "__all__", ()):
            found = getattr(home, name)
            if isinstance(found, type) and issubclass(found, Transform):
                missing += [] if getattr(room, name, None) is found else [name]
    assert missing == []


def test_the_room_of_transforms_brings_no_libraries() -> None:
    code = (
        "import sys; import monai_ddfm.transforms;"
        "assert not {'torch', 'monai', 'SimpleITK'} & {*sys.modules}"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
