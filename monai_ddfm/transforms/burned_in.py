"""Text in the pixels of a source, which no de-identification of headers takes out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai.config import KeysCollection
from monai.transforms import MapTransform

from monai_ddfm.data.readers.dicom_files import looks_like_dicom, read_dataset
from monai_ddfm.data.readers.tags import text
from monai_ddfm.errors import InputError

__all__ = ["CheckBurnedInD", "CheckBurnedInDict", "CheckBurnedInd"]


class CheckBurnedInd(MapTransform):  # type: ignore[misc]
    """Refuse to de-identify images whose headers say that there is text in their pixels.

    Args:
        keys: the volumes, as `LoadVolumed` leaves them.
        deidentify: whether the results are to be de-identified; nothing is looked at otherwise.
        allow: let such images through all the same.
        allow_missing_keys: whether a case may lack some of the keys.
    """

    def __init__(
        self,
        keys: KeysCollection = ("fixed", "moving"),
        *,
        deidentify: bool = False,
        allow: bool = False,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.looks = bool(deidentify) and not allow

    def __call__(self, data: Mapping[Any, Any]) -> dict[Any, Any]:
        """Return the case as it is.

        Args:
            data: the case.

        Raises:
            InputError: an image says that it has text burned in.
        """
        for key in self.key_iterator(data) if self.looks else ():
            names = json.loads(str(data[key].meta.get("source_files") or "[]"))
            for path in map(Path, names):
                if path.is_dir() or not looks_like_dicom(path):
                    continue
                header = read_dataset(path, pixels=False)
                if text(header, "BurnedInAnnotation").upper() == "YES":
                    raise InputError(
                        f"{path} says that text is burned into its pixels (BurnedInAnnotation), "
                        "which may name the patient; remove it there, or allow it with "
                        "--allow-burned-in."
                    )
        return dict(data)


CheckBurnedInD = CheckBurnedInDict = CheckBurnedInd
