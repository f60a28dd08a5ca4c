"""The report as a person sees it: opened in a browser, sliders moved, pictures compared."""

from __future__ import annotations

import io
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from dicom_fusions import demo_case
from PIL import Image
from report_pages import (
    EVIL,
    PLANES,
    SHAPE,
    SPACING,
    Page,
    affine,
    cut,
    expected,
    panels,
    record,
    volumes,
)
from run_cases import NOTICE

from monai_ddfm.data.writers.outputs import SaveFusionOutputsd
from monai_ddfm.visualize.report import write_report
from monai_ddfm.visualize.report.pictures import picture_data


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of volumes that are stored in another order than they are shown."""
    path = tmp_path_factory.mktemp("with blank ü") / "report.html"
    there = nib.orientations.ornt_transform([[0, 1], [1, 1], [2, 1]], [[2, -1], [0, 1], [1, -1]])

    def stored(volume: np.ndarray) -> np.ndarray:
        if volume.ndim == 4:
            return np.stack([stored(channel) for channel in volume])
        return nib.orientations.apply_orientation(volume, there)

    data = {name: stored(volume) for name, volume in volumes().items()}
    matrix = affine() @ nib.orientations.inv_ornt_aff(there, SHAPE)
    write_report(path, panels(data), matrix, provenance=record(), title="A & <B>")
    return path


@pytest.fixture
def page(browser: Any, written: Path) -> Iterator[Page]:
    opened = Page(browser, written)
    yield opened
    assert opened.complaints == []
    assert all(url.startswith(("file:", "data:")) for url in opened.requests)
    opened.page.close()


def test_the_slider_leads_from_volume_to_volume(page: Page, written: Path) -> None:
    data = volumes()
    shown = picture_of(written)
    low = np.array(shown["crop"])
    for stop, panel in enumerate(panels(data)):
        page.slide("#mix", stop)
        colors = expected(panel, list(data.values())[stop])
        for number, plane in enumerate(PLANES):
            wanted = cut(colors[crop(low, shown)], plane, shown["start"])
            np.testing.assert_allclose(page.picture("mixed", number), wanted, atol=1)
        pressed = page.page.locator("[data-stop][aria-pressed=true]")
        assert pressed.text_content() == panel.title
    page.slide("#mix", 0.5)
    first, second = (
        expected(p, v)
        for p, v in zip(panels(data), data.values(), strict=True)
        if p.title in ("MRI (fixed)", "CT")
    )
    wanted = cut(((first + second) / 2)[crop(low, shown)], "axial", shown["start"])
    np.testing.assert_allclose(page.picture("mixed", 0), wanted, atol=1)
    page.page.get_by_role("button", name="Weight").click()
    assert page.page.locator("#mix").input_value() == "3"


def picture_of(path: Path) -> dict[str, Any]:
    """What the page was given to show; the crop is found again from the MRI's own values."""
    text = re.search(r'<script id="data" type="application/json">(.*?)</script>', path.read_text())
    assert text is not None
    shown: dict[str, Any] = json.loads(text[1])
    data = volumes()
    direct = picture_data(panels(data), affine())
    assert direct["size"] == shown["size"]
    assert direct["start"] == shown["start"]
    np.testing.assert_allclose(shown["spacing"], SPACING)
    extent = np.array(shown["size"])
    shown["crop"] = (np.array(SHAPE) - extent).tolist()  # all of the head reaches the far end
    return shown


def crop(low: np.ndarray, shown: dict[str, Any]) -> tuple[slice, ...]:
    return tuple(slice(a, a + n) for a, n in zip(low, shown["size"], strict=True))


def test_slices_and_clicks_lead_to_another_place(page: Page, written: Path) -> None:
    data, shown = volumes(), picture_of(written)
    colors = expected(panels(data)[0], data["fixed"])[crop(np.array(shown["crop"]), shown)]
    place = list(shown["start"])
    for axis, plane in ((2, "axial"), (1, "coronal"), (0, "sagittal")):
        place[axis] = 3
        page.slide(f"#slice-{plane}", 3)
        number = list(PLANES).index(plane)
        np.testing.assert_allclose(page.picture("mixed", number), cut(colors, plane, place), atol=1)
    assert page.text("#mixed figure:first-child figcaption span") == (
        f"slice 4 of {shown['size'][2]}"
    )
    canvas = page.page.locator("#mixed canvas").first
    box = canvas.bounding_box()
    assert box is not None
    # A quarter from the left is the patient's right, a quarter from the top is anterior.
    canvas.click(position={"x": box["width"] * 0.25, "y": box["height"] * 0.25})
    nx, ny, _ = shown["size"]
    assert int(page.page.locator("#slice-sagittal").input_value()) == nx - 1 - int(nx * 0.25)
    assert int(page.page.locator("#slice-coronal").input_value()) == ny - 1 - int(ny * 0.25)
    # True proportions: millimeters, not voxels.
    assert box["width"] / box["height"] == pytest.approx(nx * SPACING[0] / (ny * SPACING[1]), 0.02)


def test_values_are_read_at_the_cross(page: Page, written: Path) -> None:
    data, shown = volumes(), picture_of(written)
    place = tuple(np.array(shown["start"]) + shown["crop"])
    said = page.text("#reading")
    found = {
        name: float(value)
        for name, value in re.findall(r"(MRI \(fixed\)|CT|Weight): \D*([\d.e+-]+)", said)
    }
    assert found["MRI (fixed)"] == pytest.approx(data["fixed"][place], abs=600 / 254 + 1)
    assert found["CT"] == pytest.approx(data["moving"][place], abs=0.05)
    assert found["Weight"] == pytest.approx(data["weight"][place], abs=0.01)


def test_the_checkerboard_takes_turns(page: Page, written: Path) -> None:
    data, shown = volumes(), picture_of(written)
    colors = [
        expected(panel, data[name])[crop(np.array(shown["crop"]), shown)]
        for panel, name in zip(panels(data), ("fixed", "moving"), strict=False)
    ]
    for mm in (20, 7):
        page.slide("#tile", mm)
        index = np.indices(shown["size"])
        steps = sum(np.floor(n * s / mm) for n, s in zip(index, SPACING, strict=True))
        mixed = np.where((steps % 2 == 1)[..., None], colors[1], colors[0])
        wanted = cut(mixed, "axial", shown["start"])
        np.testing.assert_allclose(page.picture("checkered", 0), wanted, atol=1)
        assert page.text("#tile-mm") == f"{mm} mm"


def test_text_of_the_user_is_no_markup(page: Page, written: Path) -> None:
    assert page.page.title() == "A & <B>"
    assert page.page.locator("#evil").count() == 0
    assert EVIL in page.text("#figures ~ .figures")
    text = written.read_text(encoding="utf-8")
    assert "default-src 'none'" in text
    loaded = re.findall(r"""(?:src|href)=["']|url\(|@import|https?://""", text)
    assert loaded == []
    assert NOTICE in page.text("header")


def test_figures_and_warnings_of_the_record_are_shown(page: Page) -> None:
    attention = page.text(".warnings")
    assert "registration: the moving field of view covers 40% of the fixed head" in attention
    assert "moving: ä" in attention
    shown = page.text(".figures")
    for words in ("0.100 before, 0.900 after (nats)", "1.0 to 12.5 mm", "4 x 5 x 6 of 1 x 2 x 3"):
        assert words in shown
    whole = json.loads(page.text("details pre"))
    assert whole == record()


def test_a_run_in_the_browser(browser: Any, tmp_path: Path) -> None:
    """The report of a CT run, as it looks."""
    case = demo_case("CT")
    SaveFusionOutputsd(tmp_path, modality="CT")(case)
    page = Page(browser, tmp_path / "report.html")
    shots = []
    for stop in (0, 1, 2, 3):
        page.slide("#mix", stop)
        png = page.page.locator("#mixed").screenshot()
        shots.append(np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(float))
    for shot in shots:
        assert shot.std() > 20  # something is to be seen
    for one, other in itertools.pairwise(shots):
        assert np.abs(one - other).mean() > 3
    # The CT is shown as it was fused: brain is neither black nor white.
    brain = int(page.picture("mixed", 0)[page.picture("mixed", 0).shape[0] // 2].max())
    assert brain > 0
    page.slide("#mix", 1)
    middle = page.picture("mixed", 0)
    gray = middle[middle.shape[0] // 2, middle.shape[1] // 2].mean()
    assert 30 < gray < 200
    assert page.complaints == []
    page.page.close()
