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

Philips scanners that write counts (``CNTS``) have the factor to SUV in (7053,1000) or to Bq/ml in
(7053,1009). ``GML`` is SUV already. Sources: DICOM PS3.3 C.8.9.1 and C.8.9.4; QIBA's vendor-neutral
pseudo-code for SUV.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from pydicom.dataset import Dataset

from monai_ddfm.readers.tags import instant, item, number, private, private_number, text, texts

__all__ = ["Scaling", "acquired_at", "pet_scaling"]

_UNITS = {"BQML": "Bq/ml", "CNTS": "counts", "CPS": "counts/s", "PROPCNTS": "counts"}
_CODED = {"Bq/ml": "BQML", "{SUVbw}g/ml": "GML"}
_HALF_DAY = timedelta(hours=12)
_DAY = timedelta(days=1)
_LONG_LIVED = 12 * 3600.0
_MOST_HALF_LIVES = 10


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
        Acquisition date and time; the series' date stands in where only the date is missing.
    """
    whole = instant(text(header, "AcquisitionDateTime"))
    if whole is not None:
        return whole
    day = text(header, "AcquisitionDate") or _day(header)
    return instant(day, text(header, "AcquisitionTime") or "x")


def _day(header: Dataset) -> str:
    """Return the day of the scan, any fixed day where the header has none."""
    days = [text(header, f"{name}Date") for name in ("Series", "Acquisition", "Study", "Content")]
    return next((day for day in days if instant(day, "00")), "20000101")


def pet_scaling(header: Dataset, *, first: datetime | None, units: str = "") -> Scaling:
    """Find the factor from a PET image's rescaled values to SUV.

    Args:
        header: the image (any of the series for ``START`` and ``ADMIN``).
        first: when the earliest image of the series was acquired.
        units: the code of a real-world value mapping (UCUM) or a rescale type, if there is one.

    Returns:
        The factor with units ``"SUVbw"``; else factor 1, the units the values are in, and why.
    """
    code = _CODED.get(units) or text(header, "Units").upper() or units
    if code == "GML":
        kind = text(header, "SUVType").upper() or "BW"
        return Scaling(1.0, f"SUV{kind.lower()}", details={"method": "stored as SUV"})
    concentration = 1.0
    if code == "CNTS":
        group = (header, 0x7053, "Philips PET Private Group")
        direct = private_number(*group, 0x00)
        if direct is not None:
            return Scaling(direct, "SUVbw", details={"method": "Philips (7053,1000)"})
        concentration = private_number(*group, 0x09) or 0.0
    elif code != "BQML":
        shown = code or "missing"
        why = f"the header's Units are {shown}, so values are relative and not SUV"
        return Scaling(1.0, _UNITS.get(code, code.lower() or "relative"), why)
    if not concentration:
        why = "the header has counts and no Philips scale factor, so values are relative"
        return Scaling(1.0, "counts", why)
    try:
        return _from_activity(header, first, concentration)
    except _CannotTellError as error:
        why = str(error)
    except (OverflowError, ValueError, ZeroDivisionError):
        why = "the times in the header are beyond all measure"
    return Scaling(concentration, "Bq/ml", f"no SUV, because {why}; values are relative")


def _from_activity(header: Dataset, first: datetime | None, concentration: float) -> Scaling:
    """Compute the factor for values that are, times `concentration`, in Bq/ml."""
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
        scan, how = _reference(header, first, mode, half_life)
        elapsed = _since_injection(tracer, scan, half_life)
        share = 2.0 ** (-elapsed / half_life)
        details |= {"half_life_s": half_life, "decay_s": round(elapsed, 3)}
        if half_life > _LONG_LIVED and not text(tracer, "RadiopharmaceuticalStartDateTime"):
            assumed += " the date of the injection is missing; the day of the scan is assumed"
    factor = concentration * weight * 1000.0 / (dose * share)
    return Scaling(factor, "SUVbw", assumed.strip(), {"method": how, **details})


def _within(source: Dataset | None, keyword: str, low: float, high: float) -> float:
    value = number(source, keyword)
    if not value:
        raise _CannotTellError(f"{keyword} is missing")
    if not low <= value <= high:
        raise _CannotTellError(f"{keyword} is {value:g}, which cannot be")
    return value


def _decay_mode(header: Dataset, corrections: set[str]) -> tuple[str, str]:
    mode = text(header, "DecayCorrection").upper()
    if mode in ("START", "ADMIN", "NONE"):
        return mode, ""
    enhanced = text(header, "DecayCorrected").upper()
    if enhanced in ("YES", "NO"):
        return ("START" if enhanced == "YES" else "NONE"), ""
    if "DECY" in corrections:
        return "START", "DecayCorrection is missing; START is assumed because DECY is listed."
    raise _CannotTellError("DecayCorrection is missing")


def _average_time(header: Dataset, half_life: float) -> float:
    """Return when, in seconds after its start, a frame has its average activity."""
    duration = (number(header, "ActualFrameDuration") or 0.0) / 1000.0
    decayed = duration * math.log(2.0) / half_life
    if decayed < 1e-9:
        return duration / 2.0
    return math.log(decayed / -math.expm1(-decayed)) * half_life / math.log(2.0)


def _reference(
    header: Dataset, first: datetime | None, mode: str, half_life: float
) -> tuple[datetime, str]:
    """Return the moment that the values refer to, and how it was found."""
    acquired = acquired_at(header)
    if mode == "NONE":
        if acquired is None:
            raise _CannotTellError("AcquisitionTime is missing")
        middle = timedelta(seconds=_average_time(header, half_life))
        return acquired + middle, "not decay corrected: average activity of the frame"
    corrected = instant(text(header, "DecayCorrectionDateTime"))
    if corrected is not None:
        return corrected, "decay correction date and time"
    started = instant(_day(header), text(header, "SeriesTime") or "x")
    first = first or acquired
    if started is not None and first is not None and not text(header, "AcquisitionDate"):
        # Without its own date the acquisition may lie on the day after the series began.
        first += _DAY if started - first > _HALF_DAY else timedelta()
    if started is not None and (first is None or started <= first):
        return started, "series time"
    scanned = instant(private(header, 0x0009, "GEMS_PETD_01", 0x0D))
    if scanned is not None:
        return scanned, "GE scan time (0009,100d)"
    offset = number(header, "FrameReferenceTime")
    if offset is not None and acquired is not None and number(header, "ActualFrameDuration"):
        after = timedelta(seconds=_average_time(header, half_life) - offset / 1000.0)
        return acquired + after, "computed back from the frame reference time"
    if first is None:
        raise _CannotTellError("SeriesTime and AcquisitionTime are missing")
    return first, "first acquisition time"


def _since_injection(tracer: Dataset | None, scan: datetime, half_life: float) -> float:
    """Return the seconds from injection to `scan`, across midnight where necessary."""
    dated = instant(text(tracer, "RadiopharmaceuticalStartDateTime"))
    if dated is not None:
        elapsed = (scan - dated).total_seconds()
        if 0 <= elapsed <= _MOST_HALF_LIVES * half_life:
            return elapsed
    # De-identification often moves one date and not the other; the time of day is still right.
    clock = text(tracer, "RadiopharmaceuticalStartTime") or (f"{dated:%H%M%S}" if dated else "")
    injected = instant(f"{scan:%Y%m%d}", clock or "x")
    if injected is None:
        raise _CannotTellError("RadiopharmaceuticalStartTime is missing")
    elapsed = (scan - injected).total_seconds() % _DAY.total_seconds()
    if elapsed > _MOST_HALF_LIVES * half_life:
        raise _CannotTellError(f"{elapsed:.0f} s from injection to scan are implausible")
    return elapsed
