"""Volumes for a report, what it is to show of them, and the page in a browser."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from run_cases import NOTICE

from monai_ddfm.utils.color import color_table
from monai_ddfm.visualize.panels import Panel

SHAPE = (20, 26, 12)  # along R, A, S
SPACING = (2.0, 1.5, 4.0)
EVIL = "<script>document.title='caught'</script><img id='evil'>"
PLANES = {"axial": (0, 1), "coronal": (0, 2), "sagittal": (1, 2)}


def volumes() -> dict[str, np.ndarray]:
    """Volumes in RAS order that look different from every side; no two voxels nearby are equal."""
    rng = np.random.default_rng(4)
    r, a, s = np.indices(SHAPE)
    smooth = 10 * r + 5 * a + 20 * s + 200.0
    return {
        "fixed": smooth,
        "moving": rng.uniform(0, 8, SHAPE),
        "fused": rng.uniform(0, 1, (3, *SHAPE)),
        "weight": np.where(r > 3, a / SHAPE[1], np.nan),
    }


def panels(data: dict[str, np.ndarray]) -> list[Panel]:
    return [
        Panel("MRI (fixed)", data["fixed"], (200.0, 800.0)),
        Panel("CT", data["moving"], (0.0, 2.0, 8.0), (0.0, 0.5, 1.0), colors="hot_iron", scale="x"),
        Panel("Fused", data["fused"], (0.0, 1.0)),
        Panel("Weight", data["weight"], (0.0, 1.0), colors="viridis", scale="share"),
    ]


def record() -> dict[str, Any]:
    return {
        "notice": NOTICE,
        "inputs": {"fixed": {"path": f"/data/{EVIL}.nii.gz"}, "moving": {"path": "/data/ct"}},
        "options": {"preset": "default", "seed": 3},
        "bound": {"largest": 0.0},
        "reports": {
            "registration": {
                "moving": {
                    "status": "warn",
                    "method": "rigid",
                    "reasons": ["the moving field of view covers 40% of the fixed head"],
                    "mi_before": 0.1,
                    "mi_after": 0.9,
                    "dependence": 0.3,
                    "corner_displacement_mm": [1.0, 12.5],
                    "head_covered": 0.4,
                    "head_overlap": 0.8,
                    "rotation_deg": 5.0,
                }
            },
            "reading": {"moving": {"shape": [1, 4, 5, 6], "spacing_mm": [1, 2, 3], "notes": ["ä"]}},
        },
        "seconds": {"total": 1.25},
    }


def affine() -> np.ndarray:
    matrix = np.diag([*SPACING, 1.0])
    matrix[:3, 3] = (-20, -19, -24)
    return matrix


def expected(panel: Panel, volume: np.ndarray) -> np.ndarray:
    """The colors of every voxel, [R, A, S, 3], as the panel asks for."""
    if volume.ndim == 4:
        return np.moveaxis(volume, 0, -1) * 255
    values, levels = np.array(panel.window), np.array(panel.levels or (0.0, 1.0))
    table = np.rint(255 * color_table(panel.colors).numpy())
    level = np.rint(1 + 254 * np.interp(np.nan_to_num(volume), values, levels)).astype(int)
    return np.where(np.isnan(volume)[..., None], 0, table[level])


def cut(volume: np.ndarray, plane: str, place: list[int]) -> np.ndarray:
    across, up = PLANES[plane]
    index: list[Any] = [slice(None)] * 3
    index[3 - across - up] = place[3 - across - up]
    return np.swapaxes(volume[tuple(index)], 0, 1)[::-1, ::-1]


class Page:
    """A page in the browser, which notes what it complains about and what it asks for."""

    def __init__(self, browser: Any, path: Path) -> None:
        self.page = browser.new_page(viewport={"width": 1280, "height": 900})
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())
        self.page.wait_for_selector("body[data-ready]", timeout=30_000)

    def slide(self, selector: str, value: float) -> None:
        self.page.locator(selector).fill(str(value))

    def picture(self, holder: str, number: int) -> np.ndarray:
        """The pixels of a canvas, [rows, columns, 3]."""
        url = self.page.evaluate(
            "([holder, n]) => document.querySelectorAll(`#${holder} canvas`)[n].toDataURL()",
            [holder, number],
        )
        with Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) as image:
            return np.asarray(image.convert("RGB")).astype(float)

    def text(self, selector: str) -> str:
        return str(self.page.locator(selector).text_content())
