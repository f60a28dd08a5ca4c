"""What a row of the tables of situations says, and how it is tried."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from volume_checks import refusal

from monai_ddfm.transforms.loading import LoadVolume
from monai_ddfm.utils.reports import reports_of

EXTENT = "which is no head"  # the volumes of these tests are small


@dataclass(frozen=True)
class Row:
    """A situation that users have met.

    Attributes:
        what: the situation.
        source: who has reported it: project and number.
        make: writes the input below a folder; returns its path and the values to be read, or the
            path alone.
        modality: to read it as.
        note: part of a note; "" for none.
        more_notes: how many others there are.
        refused: part of the sentence that refuses it; "" if it is read.
        units: of the values.
        size: of the voxels in mm.
        options: further ones of `LoadVolume`.
    """

    what: str
    source: str
    make: Callable[[Path], Any]
    modality: str | None = None
    note: str = ""
    more_notes: int = 0
    refused: str = ""
    units: str | None = None
    size: tuple[float, float, float] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


def check(row: Row, folder: Path) -> None:
    """Read what the row describes, and compare."""
    made = row.make(folder)
    path, expected = made if isinstance(made, tuple) else (made, None)
    options = {"modality": row.modality, **row.options}
    if row.refused:
        assert row.refused in refusal(path, **options)
        return
    volume = LoadVolume(**options)(path)
    notes = [n for n in reports_of(volume)["reading"]["notes"] if EXTENT not in n]
    if row.note:
        assert len(notes) == 1 + row.more_notes, notes
        assert any(row.note in note for note in notes), notes
    else:
        assert notes == []
    if expected is not None:
        found = volume.numpy() if np.ndim(expected) == 4 else volume[0].numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    if row.units is not None:
        assert volume.meta["units"] == row.units
    if row.size is not None:
        found = np.linalg.norm(volume.affine[:3, :3], axis=0)
        np.testing.assert_allclose(found, row.size, rtol=1e-4)
