"""Values as DICOM wants them: of the right length, from the right alphabet, or not at all.

Headers that scanners and converters have written hold dates with dashes, decimal strings of 21
characters and code strings in lower case. What is copied from them passes through here, so that
an error of a source does not become an error of ours. Value representations: PS3.5 6.2.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pydicom.datadict import dictionary_VM, dictionary_VR
from pydicom.dataset import Dataset
from pydicom.uid import UID
from pydicom.valuerep import DSfloat, format_number_as_ds

from monai_ddfm.data.readers.tags import instant, numbers, text, texts

__all__ = ["code", "copied", "copy", "decimal", "decimals", "item", "line", "update"]

_LENGTH = {"LO": 64, "SH": 16, "PN": 64, "CS": 16, "ST": 1024, "LT": 10240, "UC": 1024}
_CODE_STRING = re.compile(r"^[A-Z0-9 _]{1,16}$")
_AGE = re.compile(r"^\d{3}[DWMY]$")
_TIME = re.compile(r"^([01]\d|2[0-3])([0-5]\d([0-5]\d(\.\d{1,6})?)?)?$")
_KINDS: dict[str, Callable[[str], object]] = {
    "CS": _CODE_STRING.match,
    "DA": lambda value: re.fullmatch(r"\d{8}", value) and instant(value, "000000"),
    "TM": _TIME.match,
    "DT": lambda value: value[:8].isdigit() and instant(value[:8], value[8:14] or "000000"),
    "AS": _AGE.match,
    "UI": lambda value: UID(value).is_valid,
}


def decimal(value: float) -> DSfloat:
    """Return a number as a decimal string of at most 16 characters, as precise as that allows."""
    return DSfloat(format_number_as_ds(float(value)))


def decimals(values: Iterable[float]) -> list[DSfloat]:
    """Return numbers as decimal strings."""
    return [decimal(value) for value in values]


def line(value: Any, vr: str = "LO") -> str:
    r"""Return one line of text that fits a value representation.

    Args:
        value: anything; ``\``, which separates values, becomes ``/``.
        vr: LO, SH, PN, ST, LT or UC.
    """
    plain = "".join(c if c.isprintable() else " " for c in str(value)).replace("\\", "/")
    return plain.strip()[: _LENGTH[vr]].strip()


def copied(header: Dataset | None, keyword: str) -> Any:
    """Return the value of an element of a source, valid, or None.

    Args:
        header: a source's header, or None.
        keyword: of an element that is no sequence.

    Returns:
        A value that can be assigned; invalid ones count as absent, too long text is cut.
    """
    vr = dictionary_VR(keyword)
    if vr in ("DS", "FD", "FL"):
        found = numbers(header, keyword)
        values: list[Any] = decimals(found) if vr == "DS" else list(found)
    elif vr in ("IS", "US", "UL", "SS", "SL"):
        values = [int(value) for value in numbers(header, keyword)]
    else:
        values = [valid for value in texts(header, keyword) if (valid := _valid(value, vr))]
        if len(values) != len(texts(header, keyword)):
            return None
    if dictionary_VM(keyword) == "1":
        values = values[:1]
    return None if not values else values[0] if len(values) == 1 else values


def _valid(value: str, vr: str) -> str:
    """Return `value`, cut where that is harmless, or ``""`` where it is not of this kind."""
    if vr in _LENGTH and vr != "CS":
        return line(value, vr)
    plain = {"CS": value.upper(), "DA": re.sub("[-.]", "", value), "TM": value.replace(":", "")}
    found = plain.get(vr, value)
    return found if _KINDS[vr](found) else ""


def copy(target: Dataset, header: Dataset | None, *keywords: str, empty: bool = False) -> None:
    """Copy elements whose values are valid.

    Args:
        target: where to.
        header: where from; None for no source.
        keywords: what; sequences are not copied.
        empty: whether an element that is absent or invalid is written without a value (type 2).
    """
    for keyword in keywords:
        value = copied(header, keyword)
        if value is not None or empty:
            setattr(target, keyword, value)


def item(**elements: Any) -> Dataset:
    """Return a dataset, for instance for a sequence."""
    dataset = Dataset()
    update(dataset, elements)
    return dataset


def update(dataset: Dataset, elements: Mapping[str, Any]) -> None:
    """Set elements of `dataset` by keyword."""
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)


def code(value: str, scheme: str, meaning: str) -> Dataset:
    """Return the item of a code sequence.

    Args:
        value: the code.
        scheme: of the code: DCM, SCT, UCUM.
        meaning: for people.
    """
    return item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)


def copied_code(header: Dataset | None) -> Dataset | None:
    """Return the item of a code sequence of a source, rebuilt, or None where it is no code."""
    parts = [text(header, k) for k in ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")]
    if not all(parts):
        return None
    return code(line(parts[0], "SH"), line(parts[1], "SH"), line(parts[2]))
