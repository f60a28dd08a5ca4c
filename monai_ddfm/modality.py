"""The modalities that can be fused, under the names that people and DICOM give them."""

from __future__ import annotations

from enum import StrEnum

from monai_ddfm.errors import InputError

__all__ = ["Modality", "PictureModality"]


class Modality(StrEnum):
    """What a volume was measured with.

    The members are strings, so that they can stand in a configuration and in a report.
    """

    MR = "MR"
    CT = "CT"
    PET = "PET"
    SPECT = "SPECT"

    @classmethod
    def parse(cls, name: str | Modality) -> Modality:
        """Return the modality of this name.

        Args:
            name: "MR", "CT", "PET", "SPECT" in any case, or what DICOM calls them: "MRI", "PT",
                "NM" and the retired "ST".

        Returns:
            The modality.

        Raises:
            InputError: if no modality has this name.
        """
        if isinstance(name, Modality):
            return name
        plain = str(name).strip().upper()
        aliases = {"MRI": "MR", "PT": "PET", "NM": "SPECT", "ST": "SPECT"}
        plain = aliases.get(plain, plain)
        if plain not in cls.__members__:
            raise InputError(f"modality {str(name)!r} is unknown; use CT, PET or SPECT.")
        return cls[plain]

    @classmethod
    def parse_moving(cls, name: str | Modality) -> Modality:
        """Return the modality of this name, which must be one that is fused with an MRI.

        Args:
            name: as for `parse`.

        Returns:
            CT, PET or SPECT.

        Raises:
            InputError: if no modality has this name, or if it is MR.
        """
        modality = cls.parse(name)
        if modality is cls.MR:
            raise InputError("modality 'MR' is that of the fixed volume; use CT, PET or SPECT.")
        return modality

    @property
    def has_color(self) -> bool:
        """Whether volumes of this modality are customarily shown in pseudo-color."""
        return self in (Modality.PET, Modality.SPECT)


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
