"""Short runs of the bundle from Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from monai_ddfm.apps.demo import DemoSubject
from monai_ddfm.workflow import FusionResult, fuse


def run(subject: DemoSubject, folder: Path, **options: Any) -> FusionResult:
    settings: dict[str, Any] = {"steps": 2, "registration": "none", "device": "cpu"} | options
    return fuse(
        subject.fixed, subject.moving, modality=subject.modality, output_dir=folder, **settings
    )
