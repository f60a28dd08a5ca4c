"""The bundle's files, for the tests that read them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from monai_ddfm.workflow import bundle_root

REPOSITORY = Path(__file__).resolve().parents[2]
BUNDLE = bundle_root()
CONFIGS = BUNDLE / "configs"
INFERENCE = CONFIGS / "inference.json"
WHOLE = ("inference.json", "train.json", "evaluate_prior.json", "evaluate.json")  # others amend
WITH_NETWORK = WHOLE[:3]


def read(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((CONFIGS / name).read_text(encoding="utf-8"))
    return content
