r"""What the images have in common: place, pixels, window, derivation.

Windows follow PS3.3 C.11.2.1.2: with center c and width w, LINEAR shows everything up to
c - 0.5 - (w - 1) / 2 black and everything from c - 0.5 + (w - 1) / 2 white, so that

    c = (low + high) / 2 + 0.5,    w = high - low + 1

show low black and high white. Where one unit is not small against the window (SUV), LINEAR_EXACT
with c = (low + high) / 2 and w = high - low does.
"""

from __future__ import annotations

import copy as copying
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from monai_ddfm.data.readers.tags import text, texts
from monai_ddfm.data.writers.dicom.context import Context
from monai_ddfm.data.writers.dicom.sources import SourceSeries
from monai_ddfm.data.writers.dicom.values import code, copy, decimal, decimals, item, line, update
from monai_ddfm.utils.files import NOTICE
from monai_ddfm.utils.slabs import slabs

__all__ = [
    "DERIVED",
    "EMISSION",
    "FUSION",
    "SCHEME",
    "SPATIAL_RESAMPLING",
    "Stored",
    "add_derivation",
    "add_pixels",
    "add_plane",
    "add_window",
    "mr_elements",
    "name_scheme",
    "stored",
    "thickness",
    "window_elements",
]

DERIVED = ["DERIVED", "SECONDARY", "OTHER"]
EMISSION = ["DERIVED", "PRIMARY"]  # PET and NM know no secondary images
SCHEME = "99MONAIDDFM"
FUSION = code("FUSION", SCHEME, "Fusion of registered images")
SPATIAL_RESAMPLING = code("113085", "DCM", "Spatial resampling")

_LARGEST = 65535
_FINE = 64.0
_SEQUENCES = {"SE", "IR", "GR", "EP", "RM"}
_GATED = {"CG", "PPG"}
_VARIANTS = {"SK", "MTC", "SS", "TRSS", "SP", "MP", "OSP", "NONE"}


@dataclass(frozen=True)
class Stored:
    """Values as 16-bit whole numbers: value = slope * pixel + intercept.

    Attributes:
        pixels: of any shape, uint16 or int16.
        slope: exactly as it can be written as a decimal string.
        intercept: likewise.
    """

    pixels: NDArray[Any]
    slope: float = 1.0
    intercept: float = 0.0

    @property
    def is_plain(self) -> bool:
        """Whether pixels are the values."""
        return self.slope == 1.0 and self.intercept == 0.0


def stored(
    values: NDArray[Any],
    *,
    slope: float | None = None,
    lowest: float | None = None,
    signed: bool = False,
    divided_by: float = 1.0,
) -> Stored:
    """Store values in 16 bits, a few rows at a time.

    Args:
        values: of any shape, finite.
        slope: what one step is worth; by default as little as the values' range allows, or 1 for
            values that are whole numbers already.
        lowest: the intercept, unless there are lower values; by default the lowest value if it is
            negative, else 0.
        signed: store negative values with the intercept 0 instead of an intercept.
        divided_by: what the values are divided by first.

    Returns:
        The pixels; no value is off by more than half a step.
    """
    parts = list(slabs(values.shape))

    def exact(part: slice) -> NDArray[np.float64]:
        return values[part].astype(np.float64) / divided_by

    low, high = (float(end) / divided_by for end in (values.min(), values.max()))
    whole = slope is None and all((v == np.rint(v)).all() for v in map(exact, parts))
    if signed and low < 0:
        least, most, intercept = -32768, 32767, 0.0
        needed = max(high / most, low / least)
    else:
        start = min(low, 0.0 if lowest is None else lowest)
        intercept = float(decimal(np.floor(start) if slope or whole else start))
        least, most = 0, _LARGEST
        needed = (high - intercept) / most
    fits = whole and needed <= 1.0
    step = 1.0 if fits else max(needed, slope or 0.0, 1e-30)
    if step != 1.0:
        # The largest value must still fit after the slope has been rounded to 16 characters.
        step = float(decimal(step * (1 + 1e-9)))
    pixels = np.empty(values.shape, np.int16 if least < 0 else np.uint16)
    for part in parts:
        pixels[part] = np.clip(np.rint((exact(part) - intercept) / step), least, most)
    return Stored(pixels, step, intercept)


def add_plane(dataset: Dataset, context: Context, index: int) -> None:
    """Say where slice `index` lies."""
    grid = context.grid
    update(
        dataset,
        {
            "ImagePositionPatient": decimals(grid.positions[index]),
            "ImageOrientationPatient": decimals(grid.orientation),
            "PixelSpacing": decimals(grid.spacing),
            "SliceThickness": decimal(thickness(context)),
            "PatientOrientation": grid.letters,
        },
    )


def thickness(context: Context) -> float:
    """Return how thick the slices of the MRI are, mm."""
    own = context.fixed.frames[0].thickness if context.fixed is not None else 0.0
    return own if own > 0 else context.grid.step


def add_pixels(dataset: Dataset, pixels: NDArray[Any]) -> None:
    """Add pixels [rows, columns], [frames, rows, columns] or [rows, columns, 3].

    Args:
        dataset: the image.
        pixels: uint8 colors, or 16-bit gray values.
    """
    color = pixels.dtype == np.uint8
    rows, columns = pixels.shape[:2] if color else pixels.shape[-2:]
    bits = pixels.dtype.itemsize * 8
    update(
        dataset,
        {
            "SamplesPerPixel": 3 if color else 1,
            "PhotometricInterpretation": "RGB" if color else "MONOCHROME2",
            "Rows": rows,
            "Columns": columns,
            "BitsAllocated": bits,
            "BitsStored": bits,
            "HighBit": bits - 1,
            "PixelRepresentation": int(pixels.dtype.kind == "i"),
        },
    )
    if color:
        dataset.PlanarConfiguration = 0
    raw = pixels.astype(pixels.dtype.newbyteorder("<"), copy=False).tobytes()
    dataset.PixelData = raw + b"\0" * (len(raw) % 2)
    dataset["PixelData"].VR = "OB" if color else "OW"


def window_elements(low: float, high: float) -> dict[str, Any]:
    """Return center, width and function of the window from `low` (black) to `high` (white)."""
    if not high > low:
        high = low + 1.0
    exact = high - low < _FINE
    center, width = (low + high) / 2, high - low
    return {
        "WindowCenter": decimal(center if exact else center + 0.5),
        "WindowWidth": decimal(width if exact else width + 1),
        "VOILUTFunction": "LINEAR_EXACT" if exact else "LINEAR",
    }


def add_window(dataset: Dataset, low: float, high: float) -> None:
    """Set the window from `low` (black) to `high` (white), in rescaled values."""
    update(dataset, window_elements(low, high))


def add_derivation(
    dataset: Dataset,
    context: Context,
    about: str,
    codes: Sequence[Dataset],
    sources: Sequence[Dataset],
) -> None:
    """Say what an image was made from and how.

    Args:
        dataset: the image.
        context: of the run.
        about: what it shows.
        codes: what was done, CID 7203.
        sources: items of the SourceImageSequence.
    """
    dataset.DerivationDescription = line(f"{about}; {context.derivation}; {NOTICE}", "ST")
    if codes:
        dataset.DerivationCodeSequence = [copying.deepcopy(one) for one in codes]
        name_scheme(dataset, codes)
    if sources:
        dataset.SourceImageSequence = list(sources)
    dataset.ImageComments = NOTICE
    _add_history(dataset, context.scans)


def name_scheme(dataset: Dataset, codes: Sequence[Dataset]) -> None:
    """Say whose the private codes are, if there are any among `codes`."""
    if any(one.CodingSchemeDesignator == SCHEME for one in codes):
        dataset.CodingSchemeIdentificationSequence = [
            item(CodingSchemeDesignator=SCHEME, CodingSchemeName="monai_ddfm")
        ]


def _add_history(dataset: Dataset, sources: Sequence[SourceSeries]) -> None:
    """Pass on what was lost or burned in before: a derived image is no better than its sources."""
    burned = any(text(s.header, "BurnedInAnnotation").upper() == "YES" for s in sources)
    dataset.BurnedInAnnotation = "YES" if burned else "NO"
    dataset.RecognizableVisualFeatures = "YES"
    lossy = [s.header for s in sources if text(s.header, "LossyImageCompression") == "01"]
    dataset.LossyImageCompression = "01" if lossy else "00"
    if lossy:
        copy(dataset, lossy[0], "LossyImageCompressionRatio", "LossyImageCompressionMethod")


def mr_elements(header: Dataset | None) -> Dataset:
    """Return what the MR Image module asks for beyond pixels, as the source's header has it."""
    found = Dataset()
    copy(found, header, "ScanningSequence", "SequenceVariant")
    for keyword, known, unknown in (
        ("ScanningSequence", _SEQUENCES, "RM"),
        ("SequenceVariant", _VARIANTS, "NONE"),
    ):
        value = found.get(keyword) or ""
        values = [value] if isinstance(value, str) else list(value)
        setattr(found, keyword, value if set(values) <= known and values else unknown)
    copy(found, header, "ScanOptions", "RepetitionTime", "EchoTime", "EchoTrainLength", empty=True)
    copy(found, header, "MRAcquisitionType", empty=True)
    if "IR" in texts(found, "ScanningSequence"):
        copy(found, header, "InversionTime", empty=True)
    if _GATED & set(texts(found, "ScanOptions")):
        copy(found, header, "TriggerTime", empty=True)
    copy(found, header, "FlipAngle", "MagneticFieldStrength", "ImagedNucleus", "NumberOfAverages")
    return found
