r"""Standardized uptake values from what a PET header says.

.. math::

    \mathrm{SUV_{bw}} = \frac{c\,[\mathrm{Bq/ml}] \; w\,[\mathrm{g}]}
                             {A\,[\mathrm{Bq}] \; 2^{-\Delta t / T_{1/2}}}

with the activity concentration c, the body weight w, the injected activity A, the half-life T and
the time :math:`\Delta t` from injection to the moment c refers to. Which moment that is depends on
``DecayCorrection``:

* ``ADMIN``: the injection, :math:`\Delta t = 0`.
* ``START``: the start of the scan. ``SeriesTime`` is that start unless a post-processing step has
  written its own time there, which shows when it lies after the first ``AcquisitionTime``. Then
  GE's private scan time (0009,100d) counts; else the start is computed back from the frame,
  :math:`t_{acq} - t_{ref} + t_{avg}`; else it is the first acquisition.
* ``NONE``: the time of the average activity within the frame of duration T,
  :math:`t_{acq} + t_{avg}` with :math:`t_{avg} = \ln(\lambda T / (1 - e^{-\lambda T})) / \lambda`.

The injection may lie a few minutes after the start of a dynamic scan. Its date decides where it is
plausible; de-identification often moves one date and not the other, and then the time of day is
used for nuclides that live for hours, whereas for those that live for days there is no SUV.

Activity is conserved, so the images cannot hold more than was injected: with the volume V of a
voxel in ml, the sum of :math:`\mathrm{SUV} \, V` is at most w (1 g of the body is 1 ml). On average
over the body SUV is 1 or less, and where a tracer goes it is more. Values beyond either tell of a
dose in another unit, or of a wrong weight or time, and are remarked on.

A number or time that is there but cannot be read withholds the SUV, as one that is missing does.

Philips scanners that write counts (``CNTS``) have the factor to SUV in (7053,1000) or to Bq/ml in
(7053,1009). ``GML`` is SUV already. Sources: DICOM PS3.3 C.8.9.1 and C.8.9.4; QIBA's vendor-neutral
pseudo-code for SUV.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from monai_ddfm.data.readers.clock import (
    date_time,
    day_and_time,
    offset_of,
    parse_moment,
    zone_of,
)
from monai_ddfm.data.readers.dicom_values import ACTIVITY_UNITS
from monai_ddfm.data.readers.tags import (
    UnreadableError,
    instant,
    item,
    private,
    private_number,
    sure_number,
    text,
    texts,
)

__all__ = ["Scaling", "acquired_at", "activity_doubts", "pet_scaling"]

_UNITS = {"BQML": "Bq/ml", "CNTS": "counts", "CPS": "counts/s", "PROPCNTS": "counts"}
# The words that DICOM defines for them (PS3.3 C.8.9.1.1.3 and C.8.9.1.1.14).
_DEFINED: Final = (
    "1CM BQML CM2 CM2ML CNTS CPS GML MGMINML MLG MLMING MLMINML MLML NONE PCNT PROPCNTS PROPCPS "
    "STDDEV UMOLMINML UMOLML"
)
_KINDS: Final = ("BSA", "BW", "IBW", "LBM", "LBMJAMES128", "LBMJANMA")
_CODED = {"{SUVbw}g/ml": "GML"}
_HALF_DAY = timedelta(hours=12)
_DAY = timedelta(days=1)
_LONG_LIVED = 12 * 3600.0
_MOST_HALF_LIVES = 10
_HALF_LIVES_S: Final = {
    "C-111A1 77004003": ("F-18", 6586.0),
    "C-105A1 40565003": ("C-11", 1222.0),
    "C-107A1 21576001": ("N-13", 598.0),
    "C-B1038 129504001": ("O-15", 122.2),
    "C-131A3 35337001": ("Ga-68", 4063.0),
    "C-127A2 3932008": ("Cu-64", 45724.0),
    "C-168A4 63360001": ("Zr-89", 282280.0),
    "C-159A2 79197006": ("Rb-82", 76.4),
    "C-114A5 40937006": ("I-124", 360800.0),
}
"""By the codes of SNOMED for nuclides (DICOM PS3.16 CID 4020), older and newer."""
_HALF_LIVES_AGREE = 0.03
_MOST_OF_DOSE = 1.5
_LEAST_SUV = 0.05
_EARLY_S = 600.0
"""So long before the injection a dynamic scan may begin."""
_CLOCKS_AGREE_S = 60.0


class _CannotTellError(Exception):
    """The header does not allow an SUV; the message says why."""


@dataclass(frozen=True)
class Scaling:
    """How rescaled PET values become what is handed on.

    Attributes:
        factor: to multiply the rescaled values with.
        units: the units after that, ``"SUVbw"`` where an SUV could be computed.
        explanation: why it could not, or what had to be assumed; may be empty.
        details: the numbers that went in, for the report.
    """

    factor: float
    units: str
    explanation: str = ""
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def relative(self) -> bool:
        """Whether values compare within this image only."""
        return not self.units.startswith("SUV")


def acquired_at(header: Dataset) -> datetime | None:
    """Return when the acquisition of this image began, or None.

    Args:
        header: a PET image.

    Returns:
        Acquisition date and time on the header's clock; the series' date stands in where only the
        date is missing.

    Raises:
        UnreadableError: date or time are there and cannot be read.
    """
    whole = date_time(header, "AcquisitionDateTime", zone_of(header))
    if whole is not None:
        return whole
    return day_and_time(text(header, "AcquisitionDate") or _day(header), header, "AcquisitionTime")


def _day(header: Dataset) -> str:
    """Return the day of the scan, any fixed day where the header has none."""
    days = [text(header, f"{name}Date") for name in ("Series", "Acquisition", "Study", "Content")]
    return next((day for day in days if instant(day, "00")), "20000101")


def pet_scaling(
    header: Dataset, *, first: datetime | None, units: str = "", rescaled: bool = True
) -> Scaling:
    """Find the factor from a PET image's rescaled values to SUV.

    Args:
        header: the image (any of the series for ``START`` and ``ADMIN``).
        first: when the earliest image of the series was acquired.
        units: the code of a real-world value mapping (UCUM) or a rescale type, if there is one.
        rescaled: whether the header tells the slope that makes the units; without it the stored
            values are relative.

    Returns:
        The factor with units ``"SUVbw"``; else factor 1, the units the values are in, and why.
    """
    code = _code(header, units)
    if not rescaled:
        why = "the header has no rescale slope, so values are relative and not SUV"
        return Scaling(1.0, "relative", why)
    if code == "GML":
        kind = text(header, "SUVType").upper() or "BW"
        if kind not in _KINDS:
            why = "the header's SUVType is not one that DICOM defines, so values are relative"
            return Scaling(1.0, "relative", why)
        return Scaling(1.0, f"SUV{kind.lower()}", details={"method": "stored as SUV"})
    if code == "CNTS":
        return _from_counts(header, first)
    if code == "BQML":
        return _from_activity(header, first, ACTIVITY_UNITS.get(units, 1.0))
    # Anything else may be anything, a name even, and what is returned is written down.
    defined = code in _DEFINED.split()
    shown = repr(code) if defined else "not known" if code else "missing"
    why = f"the header's Units are {shown}, so values are relative and not SUV"
    return Scaling(1.0, _UNITS.get(code, code.lower() if defined else "relative"), why)


def activity_doubts(
    values: npt.NDArray[np.float32], voxel_ml: float, scaling: Scaling
) -> list[str]:
    """Say so where SUVs cannot be what they are called.

    Args:
        values: of the volume, scaled.
        voxel_ml: volume of a voxel.
        scaling: what they were scaled with.
    """
    weight = scaling.details.get("weight_kg")
    if scaling.units != "SUVbw" or weight is None:
        return []
    share = float(values.sum(dtype=np.float64)) * voxel_ml / (1000.0 * weight)
    asked = "are dose, weight and times in the header right?"
    if share > _MOST_OF_DOSE:
        return [f"the images hold {share:.3g} times the activity that was injected: {asked}"]
    if float(values.max()) < _LEAST_SUV:
        return [f"no voxel reaches an SUV of {_LEAST_SUV}: {asked}"]
    return []


def _from_counts(header: Dataset, first: datetime | None) -> Scaling:
    """Find the factor for counts, which Philips scanners tell."""
    group = (header, 0x7053, "Philips PET Private Group")
    try:
        direct, concentration = (private_number(*group, element) for element in (0x00, 0x09))
    except UnreadableError as error:
        return Scaling(1.0, "counts", f"no SUV, because {error.clause}; values are relative")
    if direct is not None:
        return Scaling(direct, "SUVbw", details={"method": "Philips (7053,1000)"})
    if concentration is not None:
        return _from_activity(header, first, concentration)
    why = "the header has counts and no Philips scale factor, so values are relative"
    return Scaling(1.0, "counts", why)


def _from_activity(header: Dataset, first: datetime | None, concentration: float) -> Scaling:
    """Find the factor for values that are, times `concentration`, in Bq/ml."""
    try:
        return _body_weight(header, first, concentration)
    except _CannotTellError as error:
        why = str(error)
    except UnreadableError as error:
        why = error.clause
    except (OverflowError, ValueError, ZeroDivisionError):
        why = "the times in the header are beyond all measure"
    return Scaling(concentration, "Bq/ml", f"no SUV, because {why}; values are relative")


def _code(header: Dataset, units: str) -> str:
    """Return what the values are in, in the words of ``Units``; a mapping has the last word."""
    if units in ACTIVITY_UNITS:
        return "BQML"
    return _CODED.get(units) or text(header, "Units").upper() or units


def _body_weight(header: Dataset, first: datetime | None, concentration: float) -> Scaling:
    """Compute SUV by body weight."""
    corrections = {c.upper() for c in texts(header, "CorrectedImage")}
    enhanced = text(header, "AttenuationCorrected").upper()
    if (corrections and "ATTN" not in corrections) or enhanced == "NO":
        raise _CannotTellError("the image is not attenuation corrected")
    tracer = item(header, "RadiopharmaceuticalInformationSequence")
    weight = _within(header, "PatientWeight", 0.01, 500.0)
    dose = _within(tracer, "RadionuclideTotalDose", 1e4, 1e12)
    mode, assumed = _decay_mode(header, corrections)
    details = {"decay_correction": mode, "weight_kg": weight, "dose_bq": dose}
    share, how = 1.0, "decay corrected to the injection"
    if mode != "ADMIN":
        half_life = _within(tracer, "RadionuclideHalfLife", 1.0, 1e9)
        zone = zone_of(header)
        scan, how = _reference(header, first, mode, half_life, zone)
        elapsed, doubt = _since_injection(tracer, scan, half_life, zone)
        share = 2.0 ** (-elapsed / half_life)
        doubt = " ".join(part for part in (doubt, _other_nuclide(tracer, half_life)) if part)
        details |= {"half_life_s": half_life, "decay_s": round(elapsed, 3)}
        assumed = " ".join(part for part in (assumed, doubt) if part)
    factor = concentration * weight * 1000.0 / (dose * share)
    return Scaling(factor, "SUVbw", assumed, {"method": how, **details})


def _within(source: Dataset | None, keyword: str, low: float, high: float) -> float:
    value = sure_number(source, keyword)
    if value is None:
        raise _CannotTellError(f"{keyword} is missing")
    if not low <= value <= high:
        raise _CannotTellError(f"{keyword} is {value:g}, which cannot be")
    return value


def _other_nuclide(tracer: Dataset | None, half_life: float) -> str:
    """Say so where the half-life is not that of the nuclide that the header names."""
    code = text(item(tracer, "RadionuclideCodeSequence"), "CodeValue")
    for codes, (name, known) in _HALF_LIVES_S.items():
        if code in codes.split() and abs(half_life / known - 1) > _HALF_LIVES_AGREE:
            return (
                f"RadionuclideHalfLife is {half_life:g} s, where {name}, which the header names, "
                f"has {known:g} s: the former is used."
            )
    return ""


def _decay_mode(header: Dataset, corrections: set[str]) -> tuple[str, str]:
    mode = text(header, "DecayCorrection").upper()
    if mode in ("START", "ADMIN", "NONE"):
        contradicts = corrections and (mode == "NONE") == ("DECY" in corrections)
        listed = "lists" if mode == "NONE" else "does not list"
        return mode, f"DecayCorrection is {mode}, but CorrectedImage {listed} DECY." * bool(
            contradicts
        )
    if mode:
        raise _CannotTellError("DecayCorrection is not one that DICOM defines")
    enhanced = text(header, "DecayCorrected").upper()
    if enhanced in ("YES", "NO"):
        return ("START" if enhanced == "YES" else "NONE"), ""
    if "DECY" in corrections:
        return "START", "DecayCorrection is missing; START is assumed because DECY is listed."
    raise _CannotTellError("DecayCorrection is missing")


def _average_time(header: Dataset, half_life: float) -> float:
    """Return when, in seconds after its start, a frame has its average activity."""
    duration = (sure_number(header, "ActualFrameDuration") or 0.0) / 1000.0
    decayed = duration * math.log(2.0) / half_life
    if decayed < 1e-9:
        return duration / 2.0
    return math.log(decayed / -math.expm1(-decayed)) * half_life / math.log(2.0)


def _reference(
    header: Dataset,
    first: datetime | None,
    mode: str,
    half_life: float,
    zone: timedelta | None,
) -> tuple[datetime, str]:
    """Return the moment that the values refer to, and how it was found."""
    acquired = acquired_at(header)
    if mode == "NONE":
        if acquired is None:
            raise _CannotTellError("AcquisitionTime is missing")
        middle = timedelta(seconds=_average_time(header, half_life))
        return acquired + middle, "not decay corrected: average activity of the frame"
    corrected = date_time(header, "DecayCorrectionDateTime", zone)
    if corrected is not None:
        return corrected, "decay correction date and time"
    started = day_and_time(_day(header), header, "SeriesTime")
    first = first or acquired
    if started is not None and first is not None and not text(header, "AcquisitionDate"):
        # Without its own date the acquisition may lie on the day after the series began.
        first += _DAY if started - first > _HALF_DAY else timedelta()
    if started is not None and (first is None or started <= first):
        return started, "series time"
    scan_time = private(header, 0x0009, "GEMS_PETD_01", 0x0D)
    scanned = parse_moment(scan_time, "GE scan time (0009,100d)", zone)
    if scanned is not None:
        return scanned, "GE scan time (0009,100d)"
    offset = sure_number(header, "FrameReferenceTime")
    if offset is not None and acquired is not None and sure_number(header, "ActualFrameDuration"):
        after = timedelta(seconds=_average_time(header, half_life) - offset / 1000.0)
        return acquired + after, "computed back from the frame reference time"
    if first is None:
        raise _CannotTellError("SeriesTime and AcquisitionTime are missing")
    return first, "first acquisition time"


def _since_injection(
    tracer: Dataset | None, scan: datetime, half_life: float, zone: timedelta | None
) -> tuple[float, str]:
    """Return the seconds from injection to `scan`, and what is doubtful about them."""
    name = "RadiopharmaceuticalStartDateTime"
    longest = _MOST_HALF_LIVES * half_life
    dated = date_time(tracer, name, zone)
    doubts = []
    if dated is not None and zone is None and offset_of(tracer, name) is not None:
        doubts.append(f"{name} has an offset from UTC and the scan has none: it is left out.")
    if dated is not None:
        elapsed = (scan - dated).total_seconds()
        if -_EARLY_S <= elapsed <= longest:
            return elapsed, " ".join([*doubts, *_other_clock(tracer, scan, dated)])
        if half_life > _LONG_LIVED:
            raise _CannotTellError(
                f"the injection is dated {elapsed / 3600:.1f} hours before the scan, which is "
                "implausible"
            )
        doubts.append("the date of the injection is implausible; its time of day is used.")
    injected = day_and_time(f"{scan:%Y%m%d}", tracer, "RadiopharmaceuticalStartTime")
    if injected is None and dated is not None:
        injected = datetime.combine(scan.date(), dated.time())
    if injected is None:
        raise _CannotTellError("RadiopharmaceuticalStartTime is missing")
    elapsed = (scan - injected).total_seconds() % _DAY.total_seconds()
    if elapsed > _DAY.total_seconds() - _EARLY_S:
        elapsed -= _DAY.total_seconds()
    if elapsed > longest:
        raise _CannotTellError(f"{elapsed:.0f} s from injection to scan are implausible")
    if half_life > _LONG_LIVED:
        doubts.append("the date of the injection is missing; the day of the scan is assumed")
    return elapsed, " ".join(doubts)


def _other_clock(tracer: Dataset | None, scan: datetime, dated: datetime) -> list[str]:
    """Say so where the two elements for the time of the injection contradict each other."""
    other = day_and_time(f"{scan:%Y%m%d}", tracer, "RadiopharmaceuticalStartTime")
    if other is None:
        return []
    apart = (other - dated).total_seconds() % _DAY.total_seconds()
    apart = min(apart, _DAY.total_seconds() - apart)
    if apart <= _CLOCKS_AGREE_S:
        return []
    return [f"the date-time of the injection is used; its time of day differs by {apart:.0f} s."]
