"""The modalities that can be fused: what is known of each, one row each, and their names.

Readers, windows, colors, writers, cohorts and the label server look here for what tells one
modality from another. An MRI is also fused with another MRI (FLAIR, with contrast) where the user
says that it is one; of itself, nothing takes an MRI for the second volume.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from monai_ddfm.errors import InputError

__all__ = ["ROWS", "Modality", "ModalityRow", "PictureModality"]


@dataclass(frozen=True, kw_only=True)
class ModalityRow:
    """A modality.

    Attributes:
        names: what people call it beside its own name and its codes.
        codes: DICOM's codes, that of new objects first.
        sop_class: UID of DICOM's storage class for its images.
        units: of a file that does not name them; "" if nothing can be assumed.
        outside: value where nothing was measured, unless the values end above it.
        window: gray scale if none is asked for, see `monai_ddfm.transforms.windows`.
        windows: further windows by name.
        in_color: whether it is customarily shown in color.
        averaged: whether time frames may be averaged.
        resolution: full width at half maximum in mm of a point, as clinical scanners show it; 1
            where details are as fine as an MRI's.
        measured: whether its values mean what they say, and are never shown inverted.
        suffix: of files in a BIDS data set; "" for one with suffixes of its own.
        dicom: what makes its DICOM objects, see `monai_ddfm.data.writers.dicom.moving`; "" if
            there is nothing, and then it is not written as another modality.
        contrast: parameters of the likelihood of the preset "contrast" (`SaliencyParameters`) that
            are not its own; None leaves it as it is. docs/concepts tells how they were found.
        words: parts of file names that tell it, with blanks between.
        demo: what the simulated subject shows; "" if there is none.
    """

    names: tuple[str, ...] = ()
    codes: tuple[str, ...]
    sop_class: str
    units: str = ""
    outside: float = 0.0
    window: str
    windows: tuple[str, ...] = ("maximum",)
    in_color: bool = False
    averaged: bool = False
    resolution: float = 1.0
    measured: bool = True
    suffix: str = ""
    dicom: str = ""
    contrast: Mapping[str, float] | None = None
    words: str
    demo: str = ""


ROWS: Final[Mapping[str, ModalityRow]] = MappingProxyType(
    {
        "MR": ModalityRow(
            names=("MRI",),
            codes=("MR",),
            sop_class="1.2.840.10008.5.1.4.1.1.4",
            window="air..99.5%",
            measured=False,
            dicom="mr",
            words="mr mri t1 t1w t1c t1ce t1gd t1n t2 t2w flair pd pdw mprage swi dwi fixed",
            demo="T1",
        ),
        "CT": ModalityRow(
            codes=("CT",),
            sop_class="1.2.840.10008.5.1.4.1.1.2",
            units="HU",
            outside=-1000.0,
            window="fusion",
            windows=("fusion", "body", "brain", "subdural", "stroke", "bone", "soft_tissue"),
            suffix="ct",
            dicom="ct",
            contrast={
                "brightness": 50.0,
                "brightness_floor": 0.1,
                "brightness_blur": 0.7,
                "structure": 0.5,
                "structure_blur": 0.7,
                "structure_floor": 1e-4,
                "scale_share": 0.0,
            },
            words="ct cbct",
            demo="CT",
        ),
        "PET": ModalityRow(
            codes=("PT",),
            sop_class="1.2.840.10008.5.1.4.1.1.128",
            window="0..99.9%",
            windows=("maximum", "cerebellum"),
            in_color=True,
            averaged=True,
            resolution=6.0,
            suffix="pet",
            dicom="pet",
            contrast={},
            words="pet pt fdg fdgpet petfdg amyloid tau",
            demo="FDG PET",
        ),
        "SPECT": ModalityRow(
            codes=("NM", "ST"),
            sop_class="1.2.840.10008.5.1.4.1.1.20",
            window="maximum",
            windows=("maximum", "cerebellum"),
            in_color=True,
            averaged=True,
            resolution=10.0,
            suffix="spect",
            dicom="nm",
            contrast={
                "brightness": 50.0,
                "brightness_floor": 0.02,
                "brightness_blur": 1.7,
                "structure": 1.3,
                "structure_blur": 3.0,
                "structure_floor": 1e-4,
                "scale_share": 0.8,
                "sharpness": 12.0,
                "window": 3,
                "base_sharpness": 100.0,
            },
            words="spect nm hmpao ecd",
            demo="HMPAO SPECT",
        ),
        "US": ModalityRow(
            names=("ULTRASOUND",),
            codes=("US",),
            sop_class="1.2.840.10008.5.1.4.1.1.6.2",
            window="maximum",
            measured=False,
            words="us ultrasound",
        ),
    }
)
"""The rows by the name of the modality."""


class Modality(StrEnum):
    """What a volume was measured with.

    The members are strings, so that they can stand in a configuration and in a report.
    """

    MR = "MR"
    CT = "CT"
    PET = "PET"
    SPECT = "SPECT"
    US = "US"

    @classmethod
    def parse(cls, name: str | Modality) -> Modality:
        """Return the modality of this name.

        Args:
            name: of a row of `monai_ddfm.modalities`, in any case, or what people and DICOM call
                it: "MRI", "PT", "NM", the retired "ST".

        Returns:
            The modality.

        Raises:
            InputError: if no modality has this name.
        """
        if isinstance(name, Modality):
            return name
        plain = str(name).strip().upper()
        called = {n: name for name, row in ROWS.items() for n in (*row.names, *row.codes)}
        plain = called.get(plain, plain)
        if plain not in cls.__members__:
            raise InputError(f"modality {str(name)!r} is unknown; use {_names()}.")
        return cls[plain]

    @property
    def has_color(self) -> bool:
        """Whether volumes of this modality are customarily shown in pseudo-color."""
        return self.row.in_color

    @property
    def row(self) -> ModalityRow:
        """What is known of it."""
        return ROWS[self.value]


def _names() -> str:
    """Say what may be fused with an MRI; last, because it is rarer, another MRI."""
    return f"{', '.join(name for name in ROWS if name != 'MR')} or MR"


class PictureModality(StrEnum):
    """What the second picture of a pair shows; the first is the MRI or the visible image."""

    CT = "CT"
    PET = "PET"
    SPECT = "SPECT"
    IR = "IR"

    @classmethod
    def parse(cls, name: str | PictureModality) -> PictureModality:
        """Return the modality of this name.

        Args:
            name: "CT", "PET", "SPECT" or "IR" in any case, "infrared", or one of DICOM's codes.

        Returns:
            The modality.

        Raises:
            InputError: if no modality has this name.
        """
        plain = str(name).strip().upper()
        plain = {"INFRARED": "IR", "PT": "PET", "NM": "SPECT", "ST": "SPECT"}.get(plain, plain)
        if plain not in cls.__members__:
            raise InputError(f"modality {str(name)!r} is unknown; use CT, PET, SPECT or IR.")
        return cls[plain]
