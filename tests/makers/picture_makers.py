"""Small pictures for tests, and where they are saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

GRADIENT = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5
COLORS = np.stack([GRADIENT, 255 - GRADIENT, np.full_like(GRADIENT, 40)], axis=-1)


def saved(path: Path, array: Any, **options: Any) -> Path:
    Image.fromarray(array).save(path, **options)
    return path
