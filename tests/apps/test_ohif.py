"""OHIF, as npm has it, shows a fusion that lies in a real Orthanc: in a real browser."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from dicom_fusions import demo
from dicom_objects import written
from local_servers import free_port, orthanc
from PIL import Image

pytestmark = pytest.mark.slow

SERVE = Path(__file__).resolve().parents[2] / "examples" / "ohif" / "serve.py"
LOGIN = ("reader", "secret")
FLAGS = [
    *("--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"),
    *("--ignore-gpu-blocklist", "--disable-background-networking", "--no-first-run"),
]


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built viewer: from OHIF_DIST, else fetched by npm."""
    if given := os.environ.get("OHIF_DIST"):
        return Path(given)
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed")
    folder = tmp_path_factory.mktemp("ohif")
    packed = subprocess.run([npm, "pack", "@ohif/app"], cwd=folder, check=False, timeout=600)
    archives = list(folder.glob("*.tgz"))
    if packed.returncode != 0 or not archives:
        pytest.skip("npm cannot fetch @ohif/app")
    shutil.unpack_archive(archives[0], folder)
    return folder / "package" / "dist"


@pytest.fixture(scope="module")
def viewer(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the viewer of a study with an MRI, a PET and their fusion."""
    with orthanc(tmp_path_factory.mktemp("archive"), users=dict([LOGIN])) as root:
        archive, subject = f"{root}/dicom-web", demo("PET")
        assert subject.fixed_dicom is not None
        for folder in (written("PET"), subject.fixed_dicom, subject.moving_dicom):
            for file in sorted(Path(str(folder)).rglob("*.dcm")):
                sent = requests.post(f"{root}/instances", file.read_bytes(), auth=LOGIN, timeout=60)
                sent.raise_for_status()
        study = requests.get(f"{archive}/studies", auth=LOGIN, timeout=60).json()
        assert len(study) == 1
        uid = study[0]["0020000D"]["Value"][0]
        port = free_port()
        behind = root.replace("//", f"//{LOGIN[0]}:{LOGIN[1]}@")
        call = [sys.executable, SERVE, dist, "--orthanc", behind, "--port", str(port)]
        server = subprocess.Popen([*map(str, call)], stdout=subprocess.PIPE, text=True)
        assert server.stdout is not None
        assert "OHIF at" in server.stdout.readline()
        try:
            yield f"http://127.0.0.1:{port}/viewer?StudyInstanceUIDs={uid}"
        finally:
            server.terminate()
            server.wait(timeout=30)


def test_the_fusion_is_shown_in_color(viewer: str) -> None:
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("Chromium is not installed")
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=FLAGS)
        page = chromium.new_page(viewport={"width": 1400, "height": 850})
        page.set_default_timeout(300_000)
        page.goto(viewer, wait_until="commit")
        page.wait_for_selector(".cornerstone-canvas")
        page.get_by_text("Skip all").click()  # a tour for newcomers
        assert "MR+PET fusion color; research use only" in page.locator("body").text_content()
        open_series(page, "MR+PET fusion color")
        shown = canvas(page)
        chromium.close()
    spread = shown.max(axis=2).astype(int) - shown.min(axis=2)
    assert (spread > 60).mean() > 0.01  # colors of the PET, not the gray of an MRI


def open_series(page: Any, words: str) -> None:
    """Open a series by a part of its description, as a user does: by a double click."""
    page.get_by_text(words).first.dblclick()
    time.sleep(20)


def canvas(page: Any) -> np.ndarray:
    """What the first viewport shows, [H, W, 3]."""
    picture = page.locator(".cornerstone-canvas").first.screenshot()
    return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"))
