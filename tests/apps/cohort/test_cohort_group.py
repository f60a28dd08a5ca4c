"""The page of a group: outliers against scipy, and a thousand rows in a real browser."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsers import Page
from cohort_pages import made_up
from scipy import stats

from monai_ddfm.apps.cohort.cases import Case
from monai_ddfm.apps.cohort.figures import figures_of
from monai_ddfm.apps.cohort.group.outliers import outliers, outlying
from monai_ddfm.apps.cohort.progress import DISPLAYS, make_display
from monai_ddfm.apps.cohort.records import Record
from monai_ddfm.modalities import Modality


def test_outliers_agree_with_the_modified_z_score() -> None:
    values = np.random.default_rng(0).normal(5, 2, 200)
    values[[3, 50]] = (40, -30)
    spread = stats.median_abs_deviation(values, scale="normal")
    expected = np.abs(values - np.median(values)) / spread > 3.5
    assert outliers(values.tolist()) == expected.tolist()
    assert expected[[3, 50]].all()


def test_outliers_of_odd_values() -> None:
    assert outliers([]) == []
    assert outliers([1.0] * 9) == [False] * 9
    assert outliers([1.0, 2.0, 1e9]) == [False] * 3  # too few to tell
    assert outliers([0.0] * 20 + [1.0]) == [False] * 20 + [True]
    assert outliers([None, float("nan"), *[1.0, 2.0, 3.0, 2.0, 100.0]])[:2] == [False, False]


def test_modalities_are_judged_by_themselves() -> None:
    rows = [{"modality": "PET", "figures": {"x": 1 + i / 100}} for i in range(20)]
    rows += [{"modality": "CT", "figures": {"x": 50 + i / 100}} for i in range(20)]
    assert not any(outlying(rows, ["x"]))
    rows.append({"modality": "CT", "figures": {"x": 1.0}})
    assert outlying(rows, ["x"])[-1] == ["x"]


def test_figures_are_numbers_and_verdicts() -> None:
    provenance = {
        "reports": {
            "registration": {"moving": {"status": "ok", "mi_after": 1.5, "transform": [[1.0]]}},
            "intensity": {"moving_scaled": {"lower": 0, "warnings": ["x"], "landmarks": "none"}},
        },
        "bound": {"largest": 0.0, "scale": "text"},
        "fused": None,
    }
    assert figures_of(provenance) == {
        "registration_status": "ok",
        "registration_mi_after": 1.5,
        "intensity_moving_lower": 0.0,
        "bound_largest": 0.0,
    }


@pytest.mark.parametrize("name", DISPLAYS)
def test_displays_tell_what_happens(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    cases = [Case(str(i), Modality.PET, ("a",), ("b",)) for i in range(3)]
    display = make_display(name)
    display.begin(3, "2 workers", "http://127.0.0.1:1/status")
    for case in cases:
        display.started(case.key)
    display.lost("sub-0_pet", 1, 2.0)
    display.ended(Record.of(cases[1], "done", seconds=3.0))
    display.ended(Record.of(cases[2], "failed", reason="the PET [is] gone"))
    display.end({"done": 1, "failed": 1, "seconds": 9.0})
    said = capsys.readouterr().out
    for text in ("http://127.0.0.1:1/status", "sub-0_pet", "the PET [is] gone"):
        assert text in said
    if name == "json":
        events = [json.loads(line)["event"] for line in said.splitlines()]
        assert events == ["begin", *["started"] * 3, "lost", "done", "failed", "end"]
    else:
        assert "1 done, 1 failed in 9 s" in said


@pytest.fixture(scope="module")
def thousand(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cohort") / "group.html"
    path.write_text(made_up(1000), encoding="utf-8")
    return path


@pytest.fixture
def page(browser: Any, thousand: Path) -> Iterator[Any]:
    opened = Page(browser, thousand, "#rows tr")
    yield opened.page
    opened.close()


def cases(page: Any) -> list[str]:
    return list(page.locator("#rows tr td:first-child").all_inner_texts())


def test_page_of_a_thousand_cases(page: Any) -> None:
    assert page.locator("#rows tr").count() == 1000
    loaded = page.evaluate("[...document.images].filter((i) => i.src).length")
    assert 0 < loaded < 60
    # Filters.
    page.fill("#find", "sub-0007")
    assert cases(page) == ["sub-0007_ct"]
    assert page.locator("td.outlier").all_inner_texts() == ["25"]
    page.fill("#find", "")
    page.select_option("#status", "failed")
    assert cases(page) == ["sub-0009_ct"]
    assert page.locator("#rows td.text").inner_text() == "<b>the PET</b> is cut off"
    page.select_option("#status", "")
    page.select_option("#modality", "CT")
    assert page.locator("#rows tr").count() == 500
    page.select_option("#modality", "")
    # Sorting.
    page.get_by_role("button", name="rotation (deg)").click()
    page.get_by_role("button", name="rotation (deg)").click()
    assert cases(page)[0] == "sub-0007_ct"
    # Rating.
    page.keyboard.press("j")
    page.keyboard.press("p")
    page.keyboard.press("j")
    page.keyboard.press("f")
    assert "rated 1 pass, 1 fail" in page.inner_text("#counts")
    second = cases(page)[1]
    with page.expect_download() as download:
        page.click("#download")
    lines = Path(download.value.path()).read_text().splitlines()
    assert len(lines) == 1001
    assert '"sub-0007_ct","done","pass"' in lines
    assert f'"{second}","done","fail"' in lines
    page.reload()
    page.wait_for_selector("#rows tr")
    assert "rated 1 pass, 1 fail" in page.inner_text("#counts")
    assert page.locator("#distributions figure").count() == 8
    page.locator("#distributions circle").first.dispatch_event("click")
    assert page.locator("tr.selected").count() == 1


@pytest.mark.parametrize("width", [600, 1000, 1400])
def test_it_fits(browser: Any, tmp_path: Path, width: int) -> None:
    (tmp_path / "group.html").write_text(made_up(20), encoding="utf-8")
    viewport = {"width": width, "height": 800}
    page = Page(browser, tmp_path / "group.html", "#rows tr", viewport=viewport)
    assert not page.wide()
    for cell in page.page.locator("#rows tr:nth-child(8) td").all():
        box = cell.bounding_box()
        assert box is None or box["x"] + box["width"] <= width
    page.close()


@pytest.mark.slow  # a quiet machine is needed for times to mean something
def test_page_of_a_thousand_cases_is_quick(page: Any) -> None:
    def seconds(act: Callable[[], object]) -> float:
        """From the act until the browser has painted what comes of it."""
        begin = time.perf_counter()
        act()
        page.wait_for_selector("#rows tr")
        page.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
        return time.perf_counter() - begin

    opened = seconds(page.reload)
    sorting = seconds(page.get_by_role("button", name="dependence").click)
    filtering = seconds(lambda: page.fill("#find", "sub-05"))
    print(f"opened in {opened:.2f} s, sorted in {sorting:.2f} s, filtered in {filtering:.2f} s")
    assert page.locator('th[aria-sort="ascending"]').inner_text().startswith("dependence")
    assert len(cases(page)) == 100
    assert opened < 2
    assert sorting < 2
    assert filtering < 2


def test_page_loads_nothing_and_holds_text_as_data() -> None:
    text = made_up(10)
    assert "<b>the PET" not in text
    data = re.search(r'<script id="data" type="application/json">(.*?)</script>', text, re.S)
    assert data is not None
    assert len(json.loads(data[1])["rows"]) == 10
    assert not re.search(r'(?:src|href)="(?!data:)', text)
    assert "default-src 'none'" in text
    assert "research use only - not for diagnosis" in text
