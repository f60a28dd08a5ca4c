"""What is known of each modality, one row each.

Readers, windows, colors, writers, cohorts and the label server look here for what tells one
modality from another. How a modality is weighed is said by the likelihoods, where it needs
parameters of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

__all__ = ["ROWS", "ModalityRow"]


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
        measured: whether its values mean what they say, and are never shown inverted.
        suffix: of files in a BIDS data set; "" for one with suffixes of its own.
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
    measured: bool = True
    suffix: str = ""
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
            words="mr mri t1 t1w t1c t1ce t1gd t1n t2 t2w flair pd pdw mprage swi dwi fixed",
            demo="T1",
        ),
        "CT": ModalityRow(
            codes=("CT",),
            sop_class="1.2.840.10008.5.1.4.1.1.2",
            units="HU",
            outside=-1000.0,
            window="fusion",
            windows=("fusion", "brain", "subdural", "stroke", "bone", "soft_tissue"),
            suffix="ct",
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
            suffix="pet",
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
            suffix="spect",
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
