"""Volumes for a report, what it is to show of them, and its viewer in a browser."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from browsers import Page
from PIL import Image
from run_cases import NOTICE

from monai_ddfm.utils.color import color_table
from monai_ddfm.visualize.legend import Legend
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
        Panel("MRI (fixed)", data["fixed"], (200.0, 800.0), units="a.u."),
        Panel(
            *("CT (registered)", data["moving"], (0.0, 2.0, 8.0), (0.0, 0.5, 1.0)),
            **{"colors": "hot_iron", "scale": "x", "units": "HU"},
        ),
        Panel("Fused", data["fused"], (0.0, 1.0), legend=Legend(np.eye(4)[..., :3], "gray")),
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
    level = 255 * np.interp(np.nan_to_num(volume), values, levels)
    return np.where(np.isnan(volume)[..., None], 0, table[np.rint(level).astype(int)])


def cut(volume: np.ndarray, plane: str, place: list[int]) -> np.ndarray:
    across, up = PLANES[plane]
    index: list[Any] = [slice(None)] * 3
    index[3 - across - up] = place[3 - across - up]
    return np.swapaxes(volume[tuple(index)], 0, 1)[::-1, ::-1]


class Report(Page):
    """A report whose viewer is ready, drawn without smoothing, cross and letters."""

    def __init__(self, browser: Any, path: Path, **about: Any) -> None:
        super().__init__(browser, path, "body[data-ready]", **about)
        self.page.evaluate(
            "nv => { nv.opts.isNearestInterpolation = true; nv.opts.crosshairWidth = 0;"
            " nv.opts.isOrientationTextVisible = false; nv.setInterpolation(true); }",
            self.page.evaluate_handle("report.nv"),
        )

    def show(self, layer: str) -> None:
        self.page.locator("#layers").get_by_role("button", name=layer, exact=True).click()

    def slide(self, selector: str, value: float) -> None:
        self.page.locator(selector).fill(str(value))
        self.drawn()

    def drawn(self) -> None:
        """Wait for the next picture."""
        self.page.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")

    def tile(self, plane: str) -> list[float]:
        """Left, top, width and height of a plane on the canvas."""
        found = self.page.evaluate(
            "n => report.nv.screenSlices.find((s) => s.axCorSag === n).leftTopWidthHeight",
            list(PLANES).index(plane),
        )
        return [float(number) for number in found]

    def picture(self, plane: str, size: tuple[int, int]) -> np.ndarray:
        """The colors at the voxels' centers of a plane, [rows, columns, 3]."""
        with Image.open(io.BytesIO(self.page.locator("#canvas").screenshot())) as image:
            pixels = np.asarray(image.convert("RGB")).astype(float)
        left, top, width, height = self.tile(plane)
        columns = (left + (np.arange(size[0]) + 0.5) / size[0] * width).astype(int)
        rows = (top + (np.arange(size[1]) + 0.5) / size[1] * height).astype(int)
        return np.asarray(pixels[np.ix_(rows, columns)])

    def place(self) -> list[int]:
        """The voxel under the cross."""
        found = self.page.evaluate("Array.from(report.nv.frac2vox(report.nv.scene.crosshairPos))")
        return [round(number) for number in found]

    def values(self) -> dict[str, str]:
        """What is said of the voxel under the cross."""
        rows = self.page.locator("#values tr").all_inner_texts()
        return dict(row.split("\t") for row in rows)

    def window(self, name: str) -> list[float]:
        """The ends of a window as its fields say them."""
        fields = self.page.locator(f'input[aria-label^="{name}:"]').all()
        return [float(field.input_value()) for field in fields]
