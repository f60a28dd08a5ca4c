"""The report as a person sees it: opened in a browser, sliders moved, pictures compared."""

from __future__ import annotations

import base64
import io
import itertools
import json
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from dicom_fusions import demo_case
from PIL import Image

from monai_ddfm.color import color_table
from monai_ddfm.writers.outputs import SaveFusionOutputsd
from monai_ddfm.writers.panels import Panel
from monai_ddfm.writers.report import write_report
from monai_ddfm.writers.report.histograms import histogram_svg
from monai_ddfm.writers.report.pictures import picture_data
from monai_ddfm.writers.report.summary import figures, warnings

NOTICE = "research use only - not for diagnosis"
SHAPE = (20, 26, 12)  # along R, A, S
SPACING = (2.0, 1.5, 4.0)
EVIL = "<script>document.title='caught'</script><img id='evil'>"
PLANES = {"axial": (0, 1), "coronal": (0, 2), "sagittal": (1, 2)}
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]


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


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api")
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("Chromium is not installed")
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield chromium
        chromium.close()


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


# --- without a browser


class Bars(HTMLParser):
    """Collects the attributes of elements."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, list[dict[str, str | None]]] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.setdefault(tag, []).append(dict(attrs))


def test_a_histogram_counts_every_voxel() -> None:
    values = np.repeat([0.0, 1.0, 4.0], [1000, 100, 10]).reshape(1, 10, 111)
    values[0, 0, 0] = np.nan
    parser = Bars()
    parser.feed(histogram_svg(Panel("<x>", values, (1.0, 3.0), scale="HU")))
    bars = parser.found["rect"]
    assert len(bars) == 3
    heights = [float(bar["height"] or 0) for bar in bars]
    tallest = np.log10(1 + 999)
    np.testing.assert_allclose(
        np.array(heights) / heights[0],
        np.log10([1000, 101, 11]) / tallest,
        atol=1e-3,
    )
    places = [float(line["x1"] or 0) for line in parser.found["line"]]
    assert places == [72.0, 216.0]  # of 288, for 1 and 3 of 0 to 4
    assert "<x>" not in histogram_svg(Panel("<x>", values, (1.0, 3.0)))


def test_large_volumes_are_averaged_to_a_bearable_size() -> None:
    fixed = np.ones((60, 50, 40), np.float32) * np.linspace(100, 900, 60)[:, None, None]
    panel = Panel("MRI", fixed, (0.0, 1000.0))
    shown = picture_data([panel], np.diag([1.0, 1.0, 2.0, 1.0]), most_voxels=20_000)
    assert np.prod(shown["size"]) <= 20_000
    extent = np.array(shown["size"]) * shown["spacing"]
    assert 50 <= extent[0] <= 60  # the darkest tenth is no head
    np.testing.assert_allclose(extent[1:], [50, 80])
    spacing = np.array(shown["spacing"])
    assert spacing.max() / spacing.min() < 1.1  # thick slices are kept, fine axes made coarser


def test_a_run_without_anything_odd_has_no_warnings() -> None:
    assert warnings({"reports": {}, "bound": {"largest": 0.0}}) == []
    assert "exceeds the sources" in warnings({"bound": {"largest": 0.01}})[0]
    assert figures({}) == {}
