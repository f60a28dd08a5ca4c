"""What is finished is kept: results of methods by a hash of everything that they depend on.

The hash of a fused image covers the sources' values, the method with all its options, the prior's
SHA-256 and the source text of the package's numerical rooms, so that a changed line of a rectifier
is never answered by an old result. Figures are kept beside it, by a hash of the metrics' text.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np
import torch
from torch import Tensor

from monai_ddfm.utils.files import atomic_path
from monai_ddfm.utils.json_files import write_json

__all__ = ["Run", "RunStore", "code_hash", "hash_of", "slug"]

_PACKAGE: Final = Path(__file__).resolve().parents[2]
_COUNTED: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "alignment": ("apps/benchmark/alignment/", "data/transform_files.py", "transforms/"),
        "figures": ("metrics/", "utils/color.py"),
        # What puts lesions and noise in, and how results are colored and looked at.
        "observer": (
            "apps/benchmark/cases.py",
            "apps/benchmark/figures.py",
            "apps/benchmark/lesions/rows.py",
            "apps/benchmark/lesions/running.py",
            "apps/benchmark/lesions/scenes.py",
            "apps/benchmark/noise.py",
            "metrics/observer/",
            "transforms/",
            "utils/color.py",
            "visualize/color_styles.py",
            "visualize/perceptual.py",
        ),
        "fusion": (),
    }
)
# What does not touch the values that a method gives; a room not named here counts.
_OTHER_ROOMS: Final = (
    "__main__.py",
    "apps/",
    "bundles/",
    "cli/",
    "data/",
    "errors.py",
    "metrics/",
    "training/",
    "transforms/",
    "utils/former_names.py",
    "utils/reports.py",
    "utils/slabs.py",
    "version.py",
    "visualize/",
    "workflow/",
)


def hash_of(*parts: object) -> str:
    """Return a SHA-256 over the text of all parts."""
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()


@lru_cache
def code_hash(rooms: str) -> str:
    """Return a SHA-256 of the text of the modules that make one of the kinds of results.

    Args:
        rooms: "fusion", "figures", "observer" or "alignment".
    """
    digest = hashlib.sha256()
    for path in sorted(_PACKAGE.rglob("*.py")):
        place = path.relative_to(_PACKAGE).as_posix()
        counts = place.startswith(_COUNTED[rooms])
        if rooms == "fusion":
            counts = not place.startswith(_OTHER_ROOMS)
        if counts:
            digest.update(place.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


class Run:
    """One method on one case: the fused image, its figures, and how long it took.

    Attributes:
        fused: luminance [1, 1, H, W] or [1, 1, H, W, D], nominally in [0, 1].
        seconds: of the fusion, for one slice.
        evaluations: of the network, for one slice.
        path: where it is kept, without a suffix; None if it is not.
        processor_seconds: of this process on the CPU, for one slice; NaN where they were not noted.
    """

    def __init__(
        self,
        fused: Tensor,
        seconds: float,
        evaluations: float = 0.0,
        path: Path | None = None,
        *,
        processor_seconds: float = math.nan,
    ) -> None:
        self.fused, self.seconds, self.evaluations = fused, seconds, evaluations
        self.path, self.processor_seconds = path, processor_seconds

    def figures(self, key: str) -> dict[str, float] | None:
        """Return the figures that are kept under `key`, if there are any."""
        file = self._figures_path(key)
        if file is None or not file.is_file():
            return None
        kept = json.loads(file.read_text(encoding="utf-8"))
        return {name: float("nan") if value is None else value for name, value in kept.items()}

    def keep_figures(self, key: str, figures: Mapping[str, float]) -> None:
        """Keep figures under `key`."""
        if (file := self._figures_path(key)) is not None:
            write_json(file, figures)

    def _figures_path(self, key: str) -> Path | None:
        return (
            None if self.path is None else self.path.with_name(f"{self.path.name}-{key[:12]}.json")
        )


class RunStore:
    """Keeps runs in a folder, or nowhere.

    Args:
        folder: where; None keeps nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def load(self, case: str, label: str, key: str | None) -> Run | None:
        """Return a finished run.

        Args:
            case: name of the pair, which names the folder.
            label: of the method, which names the file.
            key: hash of all that the result depends on; None is never kept.
        """
        path = self._path(case, label, key)
        file = None if path is None else path.with_name(path.name + ".npz")
        if path is None or file is None or not file.is_file():
            return None
        with np.load(file) as kept:
            return Run(
                torch.from_numpy(kept["fused"]),
                float(kept["seconds"]),
                float(kept["evaluations"]),
                path,
                processor_seconds=float(kept.get("processor_seconds", math.nan)),
            )

    def keep(self, case: str, label: str, key: str | None, run: Run) -> Run:
        """Keep a finished run, whole or not at all, and return it."""
        path = self._path(case, label, key)
        if path is None:
            return run
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path.with_name(path.name + ".npz")) as temporary:
            np.savez_compressed(
                temporary,
                fused=run.fused.numpy(),
                seconds=run.seconds,
                evaluations=run.evaluations,
                processor_seconds=run.processor_seconds,
            )
        run.path = path
        return run

    def _path(self, case: str, label: str, key: str | None) -> Path | None:
        if self.folder is None or key is None:
            return None
        return self.folder / slug(case) / f"{slug(label)}-{key[:16]}"


def slug(text: str, *, longest: int = 60) -> str:
    """Return a name for a file: letters, digits and dashes of a text."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-.")[:longest]
