"""The preview shows the right part, the right way round, in true proportions."""

from __future__ import annotations

import itertools

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from PIL import Image

from monai_ddfm.errors import InputError
from monai_ddfm.sources import Moved, as_sources
from monai_ddfm.transforms.intensity import NormalizeByModality
from monai_ddfm.visualize.panels import Panel, panels_of
from monai_ddfm.visualize.preview import write_preview
from monai_ddfm.visualize.views import PLANES, View, informative_point, robust_window

RAS = (24, 30, 20)
SPACING = (2.0, 1.5, 3.0)
ORIENTATIONS = [
    np.array(list(zip(axes, flips, strict=True)))
    for axes in itertools.permutations((0.0, 1.0, 2.0))
    for flips in itertools.product((1.0, -1.0), repeat=3)
]


def head(marks: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """An ellipsoid in RAS order with a bright mark at the right, the front and the top."""
    grid = np.meshgrid(*(np.linspace(-1.1, 1.1, n) for n in RAS), indexing="ij")
    data = (sum(x**2 for x in grid) < 1).astype(np.float32) * 100
    if marks:
        data[-5, 15, 10] = data[12, -4, 10] = data[12, 15, -4] = 400
    affine = np.diag([*SPACING, 1.0])
    affine[:3, 3] = (-20.0, -22.0, -30.0)
    return data, affine


def stored(data, affine, orientation):
    """The same volume with its axes in another order and direction."""
    there = nib.orientations.ornt_transform([[0, 1], [1, 1], [2, 1]], orientation)
    moved = nib.orientations.apply_orientation(data, there)
    return moved, affine @ nib.orientations.inv_ornt_aff(there, data.shape)


def brightest(picture: np.ndarray) -> tuple[float, float]:
    rows, columns = np.nonzero(picture >= 0.9 * picture.max())
    return rows.mean() / (picture.shape[0] - 1), columns.mean() / (picture.shape[1] - 1)


@pytest.mark.parametrize("orientation", ORIENTATIONS, ids=str)
def test_every_storage_order_gives_the_same_pictures(orientation):
    data, affine = stored(*head(), orientation)
    index = np.argwhere(np.isclose(stored(_index_volume(), affine, orientation)[0], 1))[0]
    view = View.around(data, affine, tuple(int(i) for i in index))
    reference, reference_affine = head()
    expected = View.around(reference, reference_affine, (12, 15, 10))
    assert view.spacing == pytest.approx(SPACING)
    for plane in range(len(PLANES)):
        np.testing.assert_array_equal(view.cut(data, plane), expected.cut(reference, plane))


def _index_volume() -> np.ndarray:
    data = np.zeros(RAS)
    data[12, 15, 10] = 1
    return data


def test_the_right_of_the_patient_is_on_the_left_and_the_front_and_top_are_up():
    data, affine = head(marks=False)
    view = View.around(data, affine, (12, 15, 10))
    for mark, seen in {
        (-5, 15, 10): {"Axial": "left", "Coronal": "left"},
        (12, -4, 10): {"Axial": "top", "Sagittal": "left"},
        (12, 15, -4): {"Coronal": "top", "Sagittal": "top"},
    }.items():
        marked = data.copy()
        marked[mark] = 400
        for plane, side in seen.items():
            row, column = brightest(view.cut(marked, PLANES.index(plane)))
            assert (column if side == "left" else row) < 0.3
            assert (row if side == "left" else column) == pytest.approx(0.5, abs=0.1)


def test_thick_slices_keep_their_proportions(tmp_path):
    """A ball of voxels of 1 x 1 x 4 mm must be round in every plane of the picture."""
    x, y, z = np.meshgrid(np.arange(80.0), np.arange(80.0), np.arange(0, 80, 4.0), indexing="ij")
    ball = ((x - 40) ** 2 + (y - 40) ** 2 + (z - 38) ** 2 < 30**2).astype(np.float32)
    colors = ball[None] * np.array([1.0, 0.0, 0.0])[:, None, None, None]
    write_preview(tmp_path / "p.png", [Panel("a", colors), Panel("b", ball)], np.diag([1, 1, 4, 1]))
    picture = np.asarray(Image.open(tmp_path / "p.png").convert("RGB")).astype(int)
    red = (picture[..., 0] > 128) & (picture[..., 1:].max(axis=-1) < 64)
    rows = np.flatnonzero(red.sum(axis=1) > 2)
    balls = np.split(rows, np.flatnonzero(np.diff(rows) > 3) + 1)
    assert len(balls) == len(PLANES)
    for ball_rows in balls:
        columns = np.flatnonzero(red[ball_rows].any(axis=0))
        high, wide = np.ptp(ball_rows) + 1, np.ptp(columns) + 1
        assert wide > 150
        assert high / wide == pytest.approx(1, abs=0.06)


def test_the_picture_says_what_it_is_and_equal_input_gives_equal_bytes(tmp_path):
    data, affine = head()
    panels = [Panel("MRI $1", data), Panel("PET", data, colors="plasma", scale="SUV $")]
    for name in ("a.png", "b.png"):
        write_preview(tmp_path / name, panels, affine, title="$\\frac{ & title")
    image = Image.open(tmp_path / "a.png")
    assert image.text["Description"] == "research use only - not for diagnosis"
    assert image.text["Title"] == "$\\frac{ & title"
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert np.asarray(image.convert("RGB"))[0, 0].max() < 32


@pytest.mark.parametrize("value", [0.0, 7.0, np.nan])
def test_volumes_without_content_are_drawn(tmp_path, value):
    data = np.full((8, 9, 10), value, dtype=np.float32)
    write_preview(tmp_path / "p.png", [Panel("a", data)], np.eye(4))
    assert Image.open(tmp_path / "p.png").size[0] > 100


def test_panels_that_cannot_be_drawn_are_refused(tmp_path):
    path, cube = tmp_path / "p.png", np.zeros((4, 4, 4))
    for panels, error, words in (
        ([], ValueError, "share a grid"),
        ([Panel("a", cube), Panel("b", cube[1:])], ValueError, "share a grid"),
        ([Panel("a", cube[None].repeat(2, axis=0))], ValueError, "expected"),
        ([Panel("a", cube, colors="no such table")], InputError, "unknown"),
    ):
        with pytest.raises(error, match=words):
            write_preview(path, panels, np.eye(4))
    assert list(tmp_path.iterdir()) == []


def test_the_point_lies_where_both_volumes_show_something():
    first, second = np.zeros((40, 40, 40)), np.zeros((40, 40, 40))
    first[5:35, 5:35, 5:35] = 10
    second[20:30, 4:14, 25:40] = 3
    assert np.abs(np.array(informative_point(first, second)) - (24.5, 9, 29.5)).max() <= 1


def test_the_window_leaves_out_single_hot_voxels():
    data = np.random.default_rng(0).uniform(0, 10, (50, 50, 50))
    data[0, 0, 0], data[1, 1, 1] = 1e6, np.nan
    low, high = robust_window(data)
    assert low == pytest.approx(0, abs=0.01)
    assert high == pytest.approx(9.97, abs=0.05)


def test_a_gray_scale_with_a_bend_is_drawn_as_it_is(tmp_path):
    """The CT window "fusion": -20 HU black, 100 HU in the middle, 1500 HU white."""
    steps = np.array([-20.0, 40.0, 100.0, 800.0, 1500.0])
    data = np.repeat(steps, 12)[:, None, None] * np.ones((1, 60, 60))
    panel = Panel("CT", data, (-20.0, 100.0, 1500.0), (0.0, 0.5, 1.0), scale="HU, middle: 100")
    write_preview(tmp_path / "bent.png", [panel], np.eye(4), point=(30, 30, 30))
    with Image.open(tmp_path / "bent.png") as image:
        picture = np.asarray(image.convert("L")).astype(float)
    found = {int(level) for level in np.unique(picture) if (picture == level).mean() > 0.03}
    for level in (128, 191, 255):  # darker bands are cropped as background
        assert any(abs(level - there) <= 2 for there in found), (level, sorted(found))


def test_panels_take_the_gray_scale_of_the_fusion():
    volume = MetaTensor(torch.rand(1, 4, 5, 6) * 900)
    scaled = NormalizeByModality("CT")(volume)
    mri = NormalizeByModality("MR")(MetaTensor(torch.rand(1, 4, 5, 6)))
    case = {"moving_scaled": scaled, "fixed_scaled": mri}
    (source,) = as_sources("CT")
    moved = [Moved(source=source, volume=volume)]
    shown = panels_of(case, fixed=volume, moved=moved, fused=volume / 900)
    assert [panel.title for panel in shown] == ["MRI (fixed)", "CT (registered)", "Fused"]
    assert shown[1].window == (-20.0, 100.0, 1500.0)
    assert shown[1].levels == (0.0, 0.5, 1.0)
    assert shown[1].scale == "original units, middle: 100"
    values, levels = shown[1].knots()
    np.testing.assert_allclose(
        np.interp(volume.numpy(), values, levels) * 2 - 1, scaled.numpy(), atol=1e-5
    )
    assert shown[0].window is not None
