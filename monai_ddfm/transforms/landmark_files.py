"""Standard histograms as files: a JSON list of eleven numbers, learned from a group of scans."""

from __future__ import annotations

import json
from pathlib import Path

from monai_ddfm.errors import InputError
from monai_ddfm.utils.places import check_ordinary

__all__ = ["read_landmarks"]


def read_landmarks(path: str | Path) -> list[float]:
    """Read the landmarks of a standard histogram.

    Args:
        path: JSON file with what `monai_ddfm.transforms.histogram.learn_landmarks` has returned.

    Returns:
        The numbers; whether they are a standard histogram is for `check_landmarks` to say.

    Raises:
        InputError: there is no such file, or it holds something else.
    """
    file = Path(path).expanduser()
    mend = "give a JSON file with the 11 values of learn_landmarks."
    check_ordinary(file)
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        return [float(value) for value in values]
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror}); {mend}") from error
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(f"{file} holds no list of numbers; {mend}") from error
