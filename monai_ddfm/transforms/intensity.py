"""Bring each modality to [-1, 1], with one invertible map per volume.

MRI has arbitrary units, so its percentiles inside the head (or the body) become black and white,
optionally after a correction of the coil's bias field (N4) and by the landmarks of Nyul and Udupa.
CT has HU and is windowed. PET and SPECT start at zero uptake and end at a given SUV, a percentile,
the maximum, or a multiple of a reference region. Volumes in color are reduced to their luminance.

The words for windows are explained in `monai_ddfm.transforms.windows`, the mathematics is in
`monai_ddfm.transforms.histogram` and `monai_ddfm.transforms.bias`.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform, MapTransform
from monai.utils import TransformBackends, convert_to_tensor

from monai_ddfm.errors import InputError
from monai_ddfm.modalities import Modality
from monai_ddfm.transforms.bias import correct_bias
from monai_ddfm.transforms.histogram import IntensityMap, check_landmarks, fit_map
from monai_ddfm.transforms.landmark_files import read_landmarks
from monai_ddfm.transforms.region import region_of
from monai_ddfm.transforms.simpleitk_bridge import volume_name
from monai_ddfm.transforms.utility import with_meta_of
from monai_ddfm.transforms.windows import (
    BODY_WINDOWS,
    CT_WINDOWS,
    KNOTS,
    WITHOUT_HU,
    Window,
    parse_window,
)
from monai_ddfm.utils.color import luminance, white_level
from monai_ddfm.utils.reports import add_report

__all__ = [
    "NormalizeByModality",
    "NormalizeByModalityD",
    "NormalizeByModalityDict",
    "NormalizeByModalityd",
]

_LEAST_CONTRAST: Final = 1e-6


class NormalizeByModality(InvertibleTransform):  # type: ignore[misc]
    """Map a volume to [-1, 1] as its modality asks for, remembering the way back.

    Args:
        modality: "MR", "CT", "PET" or "SPECT", see `Modality.parse`.
        window: what is black and what is white, see `monai_ddfm.transforms.windows`; by default
            percentiles inside the head for MR, the window "fusion" for CT, zero to the 99.9th
            percentile for PET, zero to the maximum for SPECT, and black to white for color. A
            volume that `ChooseRegiond` has found to show a body has other ones: "body" for CT,
            zero to the 99th percentile for PET.
        bias_correction: run N4 first; for MR only.
        shrink_factor: of the copy that N4 works on.
        landmarks: standard histogram from `learn_landmarks`, or a JSON file with its 11 values;
            for MR only.

    Raises:
        InputError: if an option is unknown or does not belong to the modality.
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012 - MONAI reads a list here

    def __init__(
        self,
        modality: str | Modality,
        *,
        window: str | None = None,
        bias_correction: bool = False,
        shrink_factor: int = 4,
        landmarks: Sequence[float] | str | Path | None = None,
    ) -> None:
        super().__init__()
        self.modality = Modality.parse(modality)
        self.window = parse_window(window, self.modality)
        self.is_default_window = window is None
        if self.modality is not Modality.MR and (bias_correction or landmarks is not None):
            raise InputError(
                f"bias correction and landmarks are for MR; leave them out for {self.modality}."
            )
        if shrink_factor < 1:
            raise InputError(f"the shrink factor of N4 is {shrink_factor}; give 1 or more.")
        self.bias_correction = bias_correction
        self.shrink_factor = shrink_factor
        if isinstance(landmarks, str | Path):
            landmarks = read_landmarks(landmarks)
        self.landmarks = None if landmarks is None else check_landmarks(landmarks)

    def __call__(self, img: torch.Tensor, mask: torch.Tensor | None = None) -> MetaTensor:
        """Normalize one volume.

        Args:
            img: finite intensities [1, H, W(, D)] in original units, or RGB [3, H, W(, D)] in
                [0, 1], [0, 255] or [0, 65535].
            mask: reference region [1, H, W(, D)] for the window "cerebellum".

        Returns:
            float32 [1, H, W(, D)] in [-1, 1] with the metadata of `img` and the report
            "intensity".

        Raises:
            InputError: if the volume is constant, not finite, or without contrast inside the
                window; the sentence names the file.
        """
        source = convert_to_tensor(img, dtype=torch.float32, track_meta=True)
        name = volume_name(source, f"the {self.modality} volume")
        if mask is not None and not self.window.reference:
            raise InputError(
                f"a reference mask is given, but the window {self.window.spec!r} has no use for it;"
                " add --window cerebellum or leave the mask out."
            )
        values = _one_channel(source.as_tensor(), name)
        if self.bias_correction:
            spacing, shrink = _spacing_of(source), self.shrink_factor
            values = correct_bias(
                values[0], spacing=spacing, shrink_factor=shrink, region=region_of(source)
            )[None]
        window = self._window_for(source)
        fitted = self._fit(source, values, mask, name, window)
        scaled = fitted.forward(values)
        if float(scaled.max() - scaled.min()) < _LEAST_CONTRAST:
            raise InputError(
                f"{name} has no contrast between {fitted.knots[0]:g} and {fitted.knots[-1]:g}, its "
                f"values run from {float(values.min()):g} to {float(values.max()):g}; choose "
                "another window."
            )
        result = with_meta_of(source, scaled)
        report = self._report(values, fitted, window, in_color=len(source) == 3)
        report["warnings"] += self._doubts(source, window)
        add_report(result, "intensity", report)
        self.push_transform(
            result, extra_info={"knots": list(fitted.knots), "values": list(fitted.values)}
        )
        return result

    def inverse(self, data: MetaTensor) -> MetaTensor:
        """Map values in [-1, 1] back to the units of the volume.

        Args:
            data: [C, H, W(, D)] that has come from `__call__`.

        Returns:
            Intensities: those of the volume itself where it was not clipped, of its luminance if
            it was in color, of the corrected volume if its bias field was removed.
        """
        info = self.pop_transform(data)["extra_info"]
        fitted = IntensityMap(tuple(info["knots"]), tuple(info["values"]))
        return with_meta_of(data, fitted.inverse(data.as_tensor()))

    def _window_for(self, source: MetaTensor) -> Window:
        """Return the window to use: the default of a CT is for HU only."""
        if self.is_default_window and self._lacks_hounsfield(source):
            return parse_window(WITHOUT_HU, self.modality)
        if self.is_default_window and region_of(source) == "body":
            return parse_window(BODY_WINDOWS.get(self.modality), self.modality)
        return self.window

    def _lacks_hounsfield(self, source: MetaTensor) -> bool:
        """Whether the volume is a CT whose header says that it is not in HU."""
        known = str(source.meta.get("units") or "HU")
        return self.modality is Modality.CT and len(source) == 1 and known != "HU"

    def _doubts(self, source: MetaTensor, window: Window) -> list[str]:
        """Say so where a CT without HU is shown by a window."""
        if not self._lacks_hounsfield(source):
            return []
        if self.is_default_window:
            return [
                f"the CT is not in HU, so its percentiles {window.spec} are shown, and what is "
                "white in them counts as bone; choose a window for its values with window="
            ]
        if window.spec in (*KNOTS, *CT_WINDOWS):
            return [
                f"the window {window.spec!r} is for HU, in which the CT is not; choose one for its "
                "values with window="
            ]
        return []

    def _fit(
        self,
        source: MetaTensor,
        values: torch.Tensor,
        mask: torch.Tensor | None,
        name: str,
        window: Window,
    ) -> IntensityMap:
        """Return the map for one channel `values`, taken from `source`."""
        if len(source) == 3 and self.is_default_window:
            return IntensityMap((0.0, white_level(source.as_tensor(), name=name)))
        return fit_map(
            values[0],
            window,
            landmarks=self.landmarks,
            reference_mask=None if mask is None else convert_to_tensor(mask, track_meta=False),
            region=region_of(source),
            name=name,
        )

    def _report(
        self, values: torch.Tensor, fitted: IntensityMap, window: Window, *, in_color: bool
    ) -> dict[str, Any]:
        """Say what was done, in values that JSON knows."""
        lower, upper = fitted.knots[0], fitted.knots[-1]
        plain = in_color and self.is_default_window
        return {
            "modality": self.modality.value,
            "window": "black..white" if plain else window.spec,
            "lower": lower,
            "upper": upper,
            "offset": fitted.offset,
            "scale": fitted.scale,
            "knots": list(fitted.knots),
            "values": list(fitted.values),
            "clipped_below": float((values < lower).float().mean()),
            "clipped_above": float((values > upper).float().mean()),
            "bias_correction": "N4" if self.bias_correction else "none",
            "landmarks": "Nyul" if self.landmarks is not None else "none",
            "luminance_of_color": in_color,
            "warnings": [] if plain else self._warnings(values),
        }

    def _warnings(self, values: torch.Tensor) -> list[str]:
        """Say what looks odd but may be meant."""
        if self.modality.has_color and float(values.min()) < 0:
            return [f"the {self.modality} has negative values; they are shown as zero uptake"]
        return []


class NormalizeByModalityd(MapTransform, InvertibleTransform):  # type: ignore[misc]
    """Dictionary form of `NormalizeByModality`.

    Args:
        keys: the volumes to be mapped.
        modality: "MR", "CT", "PET" or "SPECT"; one for all, or a sequence with one for each key.
        window: see `NormalizeByModality`; likewise.
        bias_correction: run N4 first; for MR only.
        shrink_factor: of the copy that N4 works on.
        landmarks: standard histogram from `learn_landmarks`; for MR only.
        mask_key: key of the reference region for the window "cerebellum".
        allow_missing_keys: pass over keys that are absent.

    Raises:
        InputError: if an option is unknown or does not belong to the modality.
        ValueError: if there are not as many modalities or windows as keys.
    """

    backend = NormalizeByModality.backend

    def __init__(
        self,
        keys: KeysCollection,
        modality: str | Modality | Sequence[str | Modality],
        *,
        window: str | Sequence[str | None] | None = None,
        bias_correction: bool = False,
        shrink_factor: int = 4,
        landmarks: Sequence[float] | str | Path | None = None,
        mask_key: str | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.mask_key = mask_key
        count = len(self.keys)
        kinds = [modality] * count if isinstance(modality, str) else modality
        windows = [window] * count if isinstance(window, str) or window is None else window
        self.normalizers = {
            key: NormalizeByModality(
                kind,
                window=spec,
                bias_correction=bias_correction,
                shrink_factor=shrink_factor,
                landmarks=landmarks,
            )
            for key, kind, spec in zip(self.keys, kinds, windows, strict=True)
        }

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict[Hashable, torch.Tensor]:
        """Normalize the volumes under the keys; the others stay as they are."""
        case = dict(data)
        mask = case.get(self.mask_key) if self.mask_key is not None else None
        for key in self.key_iterator(case):
            case[key] = self.normalizers[key](case[key], mask)
        return case

    def inverse(self, data: Mapping[Hashable, torch.Tensor]) -> dict[Hashable, torch.Tensor]:
        """Map the volumes under the keys back to their units."""
        case = dict(data)
        for key in self.key_iterator(case):
            case[key] = self.normalizers[key].inverse(case[key])
        return case


NormalizeByModalityD = NormalizeByModalityDict = NormalizeByModalityd


def _one_channel(source: torch.Tensor, name: str) -> torch.Tensor:
    """Return the volume, or its luminance, after a look at whether it can be used at all."""
    if source.ndim not in (3, 4) or len(source) not in (1, 3):
        raise InputError(
            f"{name} has the shape {tuple(source.shape)}; give one channel or RGB, then the axes "
            "of a volume."
        )
    lowest, highest = (float(end) for end in torch.aminmax(source))
    if not (math.isfinite(lowest) and math.isfinite(highest)):
        raise InputError(f"{name} has NaN or infinite voxels; replace them first.")
    if lowest == highest:
        raise InputError(
            f"{name} is {highest:g} in every voxel; give a volume that shows something."
        )
    return luminance(source, dim=0) if len(source) == 3 else source


def _spacing_of(source: MetaTensor) -> list[float]:
    """Return the voxel size in mm along every axis of [C, H, W(, D)]."""
    axes = source.ndim - 1
    columns = source.affine.cpu().numpy()[:3, :axes]
    return [float(size) for size in np.linalg.norm(columns, axis=0)]
