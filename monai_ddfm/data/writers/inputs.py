"""What a run reads, so that nothing of it is written over."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

from monai_ddfm.data.writers.provenance import RunRecord

__all__ = ["inputs_of", "sources_of"]

_FILES = ("registration", "landmarks", "reference_mask")


def inputs_of(record: RunRecord) -> dict[str, str | Path | None]:
    """Return the files and folders that a run was told to read, by a word for each.

    Args:
        record: of the run.
    """
    inputs: dict[str, str | Path | None] = {
        "the MRI" if role == "fixed" else f"the {role} volume": path
        for role, path in record.inputs.items()
    }
    for name in _FILES:
        value = record.options.get(name)
        inputs[name.replace("_", " ")] = value if isinstance(value, str | Path) else None
    if record.prior is not None:
        inputs["the prior"] = record.prior
        inputs["the description of the prior"] = Path(record.prior).with_suffix(".json")
    return inputs


def sources_of(case: Mapping[Hashable, Any], *keys: str) -> dict[str, str | Path | None]:
    """Return the files that the volumes of a case were read from.

    Args:
        case: the case.
        keys: of the volumes.
    """
    return {
        f"a file of {key!r} ({number})": name
        for key in keys
        for number, name in enumerate(
            json.loads(str(getattr(case[key], "meta", {}).get("source_files") or "[]"))
        )
    }
