"""Which patient has which label: kept in the work folder, readable by its owner only.

It is the one file of a cohort of DICOM studies that names patients. It is what leads back from a
result to the person, and it must not be passed on with the results.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from monai_ddfm.errors import InputError
from monai_ddfm.utils.files import atomic_path

__all__ = ["LABELS_FILE", "keep_labels", "kept_labels"]

LABELS_FILE = "confidential_labels.json"


def kept_labels(work: Path) -> dict[str, str]:
    """Return label by patient of earlier runs.

    Args:
        work: the work folder; it need not exist.

    Raises:
        InputError: the file is damaged.
    """
    path = work / LABELS_FILE
    if not path.exists():
        return {}
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["patients"]
        return {str(one["patient"]): str(int(one["label"])).zfill(4) for one in entries}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"{path} cannot be read; restore it, or remove it to number the patients anew."
        ) from error


def keep_labels(work: Path, labels: Mapping[str, str]) -> None:
    """Note label by patient for later runs.

    Args:
        work: the work folder.
        labels: of all patients so far.

    Raises:
        InputError: the file cannot be written.
    """
    entries = [
        {"label": label, "patient": patient}
        for patient, label in sorted(labels.items(), key=lambda item: item[1])
    ]
    content = {"about": "confidential: which patient has which label", "patients": entries}
    with atomic_path(work / LABELS_FILE) as temporary:
        temporary.touch(mode=0o600)
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
