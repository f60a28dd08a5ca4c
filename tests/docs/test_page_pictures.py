"""The pictures of the report and of a cohort's page, taken of the demo in a real browser.

``DOCS_PICTURES=docs/images python -m pytest -m slow tests/docs/test_page_pictures.py`` puts them
where the documentation shows them.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsers import Page
from cohort_pages import made_up
from PIL import Image

from monai_ddfm.apps.demo import make_demo

pytestmark = pytest.mark.slow

# Name -> width of the window, theme of the system, layer.
REPORT = {
    "report_fusion": (1400, "dark", "Fusion"),
    "report_overlay": (1400, "light", "Overlay"),
    "report_narrow": (600, "light", "Fusion"),
    "report_narrow_dark": (600, "dark", "Fusion"),
}
GROUP = {
    "group": (1400, "light"),
    "group_dark": (1400, "dark"),
    "group_narrow": (600, "light"),
    "group_narrow_dark": (600, "dark"),
}
HEIGHTS = {1400: 900, 600: 1200}
CASES = 1000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the pictures go."""
    named = os.environ.get("DOCS_PICTURES")
    return Path(named) if named else tmp_path_factory.mktemp("pictures")


def run(*words: object) -> None:
    subprocess.run([sys.executable, "-m", "monai_ddfm", *map(str, words)], check=True)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demo") / "out"
    run("demo", "--output-dir", out, "--device", "cpu")
    return out / "report.html"


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of 1,000 cases, with the pictures of a simulated head and its PET and CT."""
    pytest.importorskip("distributed", reason="needs the extra cohort")
    root = tmp_path_factory.mktemp("cohort")
    lines = ["subject,fixed,moving,modality"]
    for modality in ("PET", "CT"):
        head = make_demo(root / "head", modality=modality, scale=2)
        lines.append(f"00,{head.fixed},{head.moving},{modality}")
    (root / "study.csv").write_text("\n".join(lines), encoding="utf-8")
    run("cohort", root / "study.csv", root / "out", "participant", "--device", "cpu")
    found = [next(root.rglob(f"*thumbnail_{kind}.jpg")).read_bytes() for kind in ("pet", "ct")]
    page = root / "out" / "group.html"
    page.write_text(made_up(CASES, found), encoding="utf-8")
    return page


def opened(browser: Any, path: Path, ready: str, width: int, theme: str) -> Page:
    window = {"width": width, "height": HEIGHTS[width]}
    return Page(browser, path, ready, viewport=window, color_scheme=theme)


def take(page: Page, path: Path) -> None:
    """Keep what is in the window, in which something must be to be seen."""
    assert not page.wide()
    with Image.open(io.BytesIO(page.page.screenshot())) as picture:
        assert np.asarray(picture.convert("L")).std() > 10
        picture.convert("RGB").save(path, quality=80, method=6)
    page.close()


@pytest.mark.parametrize("name", REPORT)
def test_the_report(browser: Any, report: Path, folder: Path, name: str) -> None:
    *window, layer = REPORT[name]
    page = opened(browser, report, "body[data-ready]", *window)
    page.page.get_by_role("button", name=layer, exact=True).click()
    page.page.wait_for_timeout(1000)  # the picture is drawn after the click
    take(page, folder / f"{name}.webp")


@pytest.mark.parametrize("name", GROUP)
def test_the_page_of_a_cohort(browser: Any, group: Path, folder: Path, name: str) -> None:
    page = opened(browser, group, "#rows tr img[src]", *GROUP[name])
    assert page.page.locator("#rows tr").count() == CASES
    page.page.wait_for_function("[...document.images].every((i) => !i.src || i.naturalWidth > 0)")
    take(page, folder / f"{name}.webp")
