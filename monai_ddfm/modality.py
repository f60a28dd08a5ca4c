"""The modalities that can be fused, under the names that people and DICOM give them."""

from __future__ import annotations

from enum import StrEnum

from monai_ddfm.errors import InputError
from monai_ddfm.modalities import ROWS, ModalityRow

__all__ = ["Modality", "PictureModality"]


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
            raise InputError(f"modality {str(name)!r} is unknown; use {_moving()}.")
        return cls[plain]

    @classmethod
    def parse_moving(cls, name: str | Modality) -> Modality:
        """Return the modality of this name, which must be one that is fused with an MRI.

        Args:
            name: as for `parse`.

        Returns:
            Any but MR.

        Raises:
            InputError: if no modality has this name, or if it is MR.
        """
        modality = cls.parse(name)
        if modality is cls.MR:
            raise InputError(f"modality 'MR' is that of the fixed volume; use {_moving()}.")
        return modality

    @property
    def has_color(self) -> bool:
        """Whether volumes of this modality are customarily shown in pseudo-color."""
        return self.row.in_color

    @property
    def row(self) -> ModalityRow:
        """What is known of it."""
        return ROWS[self.value]


def _moving() -> str:
    """Say what may be fused with an MRI."""
    *names, last = (name for name in ROWS if name != "MR")
    return f"{', '.join(names)} or {last}"


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
