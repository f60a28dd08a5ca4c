"""JSON documents from whatever a run has at hand."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from monai_ddfm.utils.files import make_folder, write_text

__all__ = ["inside_script", "jsonable", "write_documents", "write_json"]


def jsonable(value: Any) -> Any:
    """Turn a value into what JSON has: numbers that are not finite become None.

    Args:
        value: nested mappings and sequences of numbers, text, arrays and tensors; anything
            else is written as text.
    """
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, torch.Tensor | np.ndarray | np.generic):
        return jsonable(value.tolist())
    if isinstance(value, Sequence | set | frozenset) and not isinstance(value, str | bytes):
        return [jsonable(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int) or type(value) is str:
        return value
    return str(value)


def inside_script(content: Any) -> str:
    """Return JSON in which no text can end the HTML script element that it stands in.

    Args:
        content: anything `jsonable` takes.
    """
    return json.dumps(jsonable(content)).replace("<", "\\u003c")


def write_json(path: str | Path, content: Mapping[str, Any]) -> None:
    """Write a JSON document, whole or not at all.

    Args:
        path: the file.
        content: anything `jsonable` takes.

    Raises:
        InputError: the file cannot be written.
    """
    text = json.dumps(jsonable(content), indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def write_documents(base: Path, content: Mapping[str, Any], **texts: str) -> None:
    """Write the documents of a benchmark, each whole or not at all, that in JSON last.

    Args:
        base: path of the files without an ending; the folder is made if need be.
        content: anything `jsonable` takes, for ``base.json``.
        texts: the other documents by ending.

    Raises:
        InputError: a file cannot be written.
    """
    make_folder(base.parent)
    for ending, text in texts.items():
        write_text(base.with_name(f"{base.name}.{ending}"), text)
    write_json(base.with_name(f"{base.name}.json"), content)
