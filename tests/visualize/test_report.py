"""The report as a person sees it: opened in a browser, its viewer used, pictures compared."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from browsers import Page
from dicom_fusions import demo_case
from PIL import Image
from report_pages import (
    EVIL,
    PLANES,
    SHAPE,
    SPACING,
    Report,
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
from monai_ddfm.visualize.report.volumes import viewer_volumes

LAYERS = {"MRI": "fixed", "CT": "moving", "Fusion": "fused", "Weight": "weight"}


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


@pytest.fixture(scope="module")
def opened(browser: Any, written: Path) -> Iterator[Report]:
    report = Report(browser, written)
    yield report
    report.close()


@pytest.fixture
def page(opened: Report, shown: dict[str, np.ndarray]) -> Report:
    """The report at the place where it opens, on the fusion."""
    opened.page.set_viewport_size({"width": 1400, "height": 1000})
    opened.page.evaluate(
        "place => { report.nv.scene.crosshairPos = report.nv.vox2frac(place);"
        " report.nv.createOnLocationChange(); }",
        shown["start"].tolist(),
    )
    opened.show("Fusion")
    return opened


@pytest.fixture(scope="module")
def shown() -> dict[str, np.ndarray]:
    """The volumes as they are cropped, and the place where the page opens."""
    data = volumes()
    about = viewer_volumes(panels(data), affine())
    low = np.array(SHAPE) - about["size"]  # all of the head reaches the far end
    crop = tuple(slice(a, None) for a in low)
    return {name: volume[..., *crop] for name, volume in data.items()} | {
        "start": np.array(about["start"])
    }


def wanted(shown: dict[str, np.ndarray], name: str) -> np.ndarray:
    panel = panels(volumes())[list(volumes()).index(name)]
    return expected(panel, shown[name])


def compare(page: Report, colors: np.ndarray, place: Any, planes: Any = PLANES) -> None:
    for plane in planes:
        picture = cut(colors, plane, list(place))
        found = page.picture(plane, picture.shape[1::-1])
        np.testing.assert_allclose(found, picture, atol=6)


def test_it_opens_on_the_fusion(opened: Report, shown: dict[str, np.ndarray]) -> None:
    assert opened.text("#layers [aria-pressed=true]") == "Fusion"
    assert opened.place() == shown["start"].tolist()
    assert opened.page.locator("#still").is_hidden()
    assert opened.page.locator(".legend img").is_visible()


def test_every_value_arrives(page: Report, shown: dict[str, np.ndarray]) -> None:
    found = page.page.evaluate(
        "report.panels.map((p) => [Array.from(p.codes), p.knots && Array.from(p.codes,"
        " (c) => c && p.toUnits(p.first + (c - 1) * p.step))])"
    )
    for (codes, values), (name, volume) in zip(found, volumes().items(), strict=True):
        data = shown[name]
        if volume.ndim == 4:
            colors = (
                np.reshape(codes, (-1, 3)).T.reshape(3, *data.shape[:0:-1]).transpose(0, 3, 2, 1)
            )
            np.testing.assert_allclose(colors, 255 * data, atol=0.51)
        else:
            there = np.isfinite(data)
            cube = np.reshape(values, data.shape[::-1]).T
            # Half a step of a 500th of the window, where the scale is least steep.
            tolerance = {"fixed": 0.5, "moving": 0.013, "weight": 0.0026}[name]
            np.testing.assert_allclose(cube[there], data[there], atol=tolerance)
            assert not np.reshape(codes, data.shape[::-1]).T[~there].any()


def test_every_layer_is_shown(page: Report, shown: dict[str, np.ndarray]) -> None:
    for layer, name in {"Fusion": "fused", **LAYERS}.items():
        page.show(layer)
        compare(page, wanted(shown, name), shown["start"])
    page.page.keyboard.press("2")
    compare(page, wanted(shown, "fixed"), shown["start"], ["axial"])


def test_the_overlay_is_of_the_sources_and_says_so(
    page: Report, shown: dict[str, np.ndarray]
) -> None:
    page.show("Overlay")
    assert "Overlay of the sources, not the fusion" in page.text("#caption")
    fixed, moving = wanted(shown, "fixed"), wanted(shown, "moving")
    for share in (0.5, 0.2):
        page.slide("#opacity", share)
        compare(page, (1 - share) * fixed + share * moving, shown["start"], ["axial"])


def test_the_checkerboard_takes_turns(page: Report, shown: dict[str, np.ndarray]) -> None:
    page.show("Checkerboard")
    index = np.indices(shown["fixed"].shape)
    for mm in (20, 7):
        page.slide("#tile", mm)
        steps = sum(np.floor(n * s / mm) for n, s in zip(index, SPACING, strict=True))
        odd = (steps % 2 == 1)[..., None]
        colors = np.where(odd, wanted(shown, "moving"), wanted(shown, "fixed"))
        compare(page, colors, shown["start"], ["axial"])
        assert page.text("#tile-mm") == f"{mm} mm"


def test_wheel_and_drag_move_the_cross_and_values_follow(
    page: Report, shown: dict[str, np.ndarray]
) -> None:
    def told(place: list[int]) -> None:
        assert page.place() == place
        numbers = {name: float(text.split()[0]) for name, text in page.values().items()}
        assert numbers["MRI"] == pytest.approx(shown["fixed"][*place], abs=0.6)
        assert numbers["CT"] == pytest.approx(shown["moving"][*place], abs=0.02)
        assert numbers["Weight"] == pytest.approx(shown["weight"][*place], abs=0.003)
        assert page.values()["MRI"].endswith(" a.u.")
        assert re.fullmatch(r"[\d.]+ ± 0\.0\d+ HU", page.values()["CT"])

    start = shown["start"].tolist()
    told(start)
    box = page.page.locator("#canvas").bounding_box()
    assert box is not None
    left, top, width, height = page.tile("axial")
    # The left is the patient's right, the top is anterior: column 4, row 5.
    nx, ny, _ = shown["fixed"].shape
    x, y = box["x"] + left, box["y"] + top
    page.page.mouse.move(x + 0.5 * width, y + 0.5 * height)
    page.page.mouse.down()
    page.page.mouse.move(x + 4.5 / nx * width, y + 5.5 / ny * height, steps=3)
    page.page.mouse.up()
    here = [nx - 1 - 4, ny - 1 - 5, start[2]]
    told(here)
    assert width / height == pytest.approx(nx * SPACING[0] / (ny * SPACING[1]), 0.02)
    page.page.mouse.wheel(0, 100)
    page.page.wait_for_function(
        f"report.nv.frac2vox(report.nv.scene.crosshairPos)[2] != {start[2]}"
    )
    assert abs(page.place()[2] - start[2]) == 1
    told([*here[:2], page.place()[2]])
    page.show("MRI")
    compare(page, wanted(shown, "fixed"), page.place(), ["axial"])


def test_window_and_level(page: Report, shown: dict[str, np.ndarray]) -> None:
    page.show("MRI")
    assert page.window("MRI") == [200, 800]
    page.page.get_by_label("MRI: lower end").fill("300")
    page.page.keyboard.press("Enter")
    page.page.get_by_label("MRI: upper end").fill("500")
    page.page.keyboard.press("Enter")
    page.drawn()
    gray = np.clip((shown["fixed"] - 300) / 200, 0, 1) * 255
    colors = np.repeat(gray[..., None], 3, axis=-1)
    compare(page, colors, shown["start"], ["coronal"])
    box = page.page.locator("#canvas").bounding_box()
    assert box is not None
    left, top, width, height = page.tile("axial")
    x, y = box["x"] + left + width / 2, box["y"] + top + height / 2
    page.page.mouse.move(x, y)
    page.page.mouse.down(button="right")
    page.page.mouse.move(x + 40, y)
    page.page.mouse.up(button="right")
    low, high = page.window("MRI")
    assert (low + high) / 2 == pytest.approx(400, abs=2)
    assert high - low == pytest.approx(200 * np.exp(40 / 200), abs=3)
    page.page.mouse.dblclick(x, y)
    assert page.window("MRI") == [200, 800]
    page.show("CT")  # the scale has a bend: the middle of the bar is not the middle value
    assert page.window("CT") == [0, 8]
    assert float(page.text(".scale .hint")) == 2


@pytest.mark.parametrize("width", [600, 1400])
def test_it_fits(page: Report, width: int) -> None:
    page.page.set_viewport_size({"width": width, "height": 900})
    for layer in ("Fusion", "Overlay"):
        page.show(layer)
        assert not page.wide()
    box = page.page.locator("#canvas").bounding_box()
    assert box is not None
    assert box["width"] > 0.6 * width


def test_a_still_picture_in_print(page: Report) -> None:
    page.page.emulate_media(media="print")
    assert page.page.locator("#still img").is_visible()
    box = page.page.locator("#viewer").bounding_box()
    assert box is not None
    assert box["x"] + box["width"] < 0
    page.page.emulate_media(media="screen")
    assert page.page.locator("#still").is_hidden()


def test_a_still_picture_without_scripts_or_webgl(browser: Any, written: Path) -> None:
    without = Page(browser, written, java_script_enabled=False)
    assert without.page.locator("#still img").is_visible()
    assert "needs JavaScript and WebGL 2" in without.text("#why")
    assert without.page.locator("#viewer").is_hidden()
    without.close()
    blind = "HTMLCanvasElement.prototype.getContext = () => null"
    without = Page(browser, written, first=blind)
    assert without.page.locator("#still img").is_visible()
    assert without.page.evaluate("document.querySelector('#still img').naturalWidth") > 500
    without.close()


def test_text_of_the_user_is_no_markup(page: Report, written: Path) -> None:
    assert page.page.title() == "A & <B>"
    assert page.page.locator("#evil").count() == 0
    assert EVIL in page.text(".figures")
    text = written.read_text(encoding="utf-8")
    assert "default-src 'none'" in text
    loaded = re.findall(r"""(?:src|href)=["'](?!data:)|url\(|@import""", text)
    assert loaded == []
    assert NOTICE in page.text("header")


def test_figures_and_warnings_of_the_record_are_shown(page: Report) -> None:
    attention = page.text(".warnings")
    assert "registration: the moving field of view covers 40% of the fixed head" in attention
    assert "moving: ä" in attention
    above = "document.querySelector('.warnings').compareDocumentPosition(viewer) & 4"
    assert page.page.evaluate(above)
    shown = page.text(".figures")
    for words in ("0.100 before, 0.900 after (nats)", "1.0 to 12.5 mm", "4 x 5 x 6 of 1 x 2 x 3"):
        assert words in shown
    assert json.loads(page.text("#record")) == record()


def test_the_license_of_the_viewer_goes_with_it(written: Path) -> None:
    text = written.read_text(encoding="utf-8")
    assert "Copyright (c) 2021, Niivue" in text
    assert "fflate" in text


def test_a_run_in_the_browser(browser: Any, tmp_path: Path) -> None:
    """The report of a CT run, as it looks."""
    SaveFusionOutputsd(tmp_path, modality="CT")(demo_case("CT"))
    assert (tmp_path / "report.html").stat().st_size < 6_000_000
    page = Report(browser, tmp_path / "report.html")
    shots = []
    for layer in ("Fusion", "MRI", "CT", "Overlay", "Weight"):
        page.show(layer)
        png = page.page.locator("#canvas").screenshot()
        shots.append(np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(float))
        assert shots[-1].std() > 20  # something is to be seen
    for n, shot in enumerate(shots):
        assert all(np.abs(shot - other).mean() > 2 for other in shots[:n])
    page.close()
