"""Words that may stand in de-identified objects: those that DICOM defines, and no others.

Code strings are short, but long enough for a name. What is copied from a source under
de-identification is therefore compared with the terms that DICOM defines for the attribute: PS3.3
C.7.3.1.1.2 (position), C.8.3.1 (MR), C.8.9.1 (PET), C.8.4.9 (NM), C.7.6.1.1.5 (compression), and
PS3.16 annex L (parts of the body).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

__all__ = ["DEFINED_TERMS", "keep_defined_terms"]

_BODY = """
ABDOMEN ABDOMENPELVIS ADRENAL ANKLE AORTA ARM AXILLA BACK BLADDER BRAIN BREAST BRONCHUS BUTTOCK
CALCANEUS CALF CAROTID CEREBELLUM CEREBRALA CSPINE CTSPINE CERVIX CHEEK CHEST CHESTABDOMEN
CHESTABDPELVIS CIRCLEOFWILLIS CLAVICLE COCCYX COLON CORNEA CORONARYARTERY DUODENUM EAR ELBOW
WHOLEBODY ESOPHAGUS EXTREMITY EYE EYELID FACE FEMUR FINGER FOOT GALLBLADDER HAND HEAD HEADNECK
HEART HIP HUMERUS ILEUM ILIUM IAC JAW JEJUNUM KIDNEY KNEE LARYNX LEG LIVER LSPINE LSSPINE LUNG
MAXILLA MEDIASTINUM MOUTH NECK NECKCHEST NECKCHESTABDOMEN NECKCHESTABDPELV NOSE ORBIT OVARY
PANCREAS PAROTID PATELLA PELVIS PENIS PHARYNX PROSTATE RECTUM RIB SSPINE SCALP SCAPULA SCLERA
SCROTUM SHOULDER SKULL SPINE SPLEEN STERNUM STOMACH SUBMANDIBULAR TMJ TESTIS THIGH THUMB THYMUS
THYROID TOE TONGUE TRACHEA TSPINE TLSPINE UTERUS VAGINA VULVA WRIST ZYGOMA SELLA
""".replace("\n", " ")
_POSITION = "HFP HFS HFDR HFDL FFDR FFDL FFP FFS LFP LFS RFP RFS AFDR AFDL PFDR PFDL"
_CORRECTED = "DECY ATTN SCAT DTIM MOTN PMOT CLN RAN RADL DCAL NORM UNIF COR NCO NRGY LIN"
_LOSSY = "ISO_10918_1 ISO_14495_1 ISO_15444_1 ISO_15444_15 ISO_13818_2 ISO_14496_10 ISO_23008_2"

DEFINED_TERMS: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        keyword: frozenset(words.split())
        for keyword, words in {
            "BodyPartExamined": _BODY,
            "PatientPosition": _POSITION,
            "ScanOptions": "PER RG CG PPG FC PFF PFP SP FS",
            "MRAcquisitionType": "2D 3D",
            "ImagedNucleus": "1H 3HE 7LI 13C 19F 23NA 31P 129XE",
            "CorrectedImage": _CORRECTED,
            "LossyImageCompressionMethod": _LOSSY,
            "RotationDirection": "CW CC",
            "Laterality": "R L",
            "ImageLaterality": "R L U B",
        }.items()
    }
)
"""What may stand in attributes that are copied as words, by keyword."""

_MAY_BE_ABSENT = ("BodyPartExamined", "ImagedNucleus", "LossyImageCompressionMethod")


def keep_defined_terms(dataset: Dataset) -> None:
    """Take what DICOM does not define out of an object, in its sequences too.

    Args:
        dataset: the object; attributes that must be there are left without a value.
    """
    for keyword, known in DEFINED_TERMS.items():
        if keyword not in dataset or dataset[keyword].value is None:
            continue
        value = dataset[keyword].value
        values = list(value) if isinstance(value, MultiValue | list | tuple) else [value]
        kept = [word for word in values if str(word).strip().upper() in known]
        if kept == values:
            continue
        if kept:
            setattr(dataset, keyword, kept)
        elif keyword in _MAY_BE_ABSENT:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, None)
        if keyword == "BodyPartExamined" and not {"Laterality", "ImageLaterality"} & set(
            dataset.dir()
        ):
            dataset.Laterality = None  # required where it is not known that the part has no sides
    for element in dataset:
        if element.VR == "SQ":
            for one in element.value:
                keep_defined_terms(one)
