"""Parts of the report without a browser: histograms, averaged volumes, warnings."""

from __future__ import annotations

from html.parser import HTMLParser

import numpy as np

from monai_ddfm.visualize.panels import Panel
from monai_ddfm.visualize.report.histograms import histogram_svg
from monai_ddfm.visualize.report.summary import figures, warnings
from monai_ddfm.visualize.report.volumes import viewer_volumes


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
    shown = viewer_volumes([panel], np.diag([1.0, 1.0, 2.0, 1.0]), most_voxels=20_000)
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
