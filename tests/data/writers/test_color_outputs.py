"""Style, table, modality and format together: every file shows the style that was chosen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
import torch
from dicom_fusions import demo_case
from monai.data import MetaTensor

from monai_ddfm.data.writers import SaveFusionOutputsd
from monai_ddfm.data.writers.dicom import SaveFusionDicomd
from monai_ddfm.transforms.colorize import ColorizeFusiond
from monai_ddfm.transforms.pictures import ColorizePictured
from monai_ddfm.utils.reports import reports_of
from monai_ddfm.visualize.color_styles import COLOR_STYLES, ColorStyle, legend_colors
from monai_ddfm.visualize.legend import legend_of
from monai_ddfm.visualize.report.page import colors_png

# Every pair of values of two columns is in some row.
PAIRWISE = [
    ("ycbcr", "inferno", "PET", "dicom"),
    ("ycbcr", "hot_iron", "SPECT", "nifti"),
    ("ycbcr", "viridis", "PET", "both"),
    ("perceptual", "inferno", "SPECT", "nifti"),
    ("perceptual", "hot_iron", "PET", "both"),
    ("perceptual", "viridis", "SPECT", "dicom"),
    ("overlay", "inferno", "SPECT", "both"),
    ("overlay", "hot_iron", "PET", "dicom"),
    ("overlay", "viridis", "PET", "nifti"),
    ("mixed", "inferno", "PET", "nifti"),
    ("mixed", "hot_iron", "SPECT", "dicom"),
    ("mixed", "viridis", "SPECT", "both"),
]


def colored_case(modality: str, source: str, **options: str) -> dict[Any, Any]:
    """A case of the demo, colored anew on the grid of its MRI."""
    case = dict(demo_case(modality, source))
    scaled = {
        key: case[key].as_tensor() / case[key].as_tensor().max().clamp_min(1e-6)
        for key in ("fixed", "moving")
    }
    image = torch.cat([2 * volume.clamp(0, 1) - 1 for volume in scaled.values()])
    parts = {"fused": case["fused"], "image": image, "moving_scaled": image[1:]}
    case["fused_rgb"] = ColorizeFusiond(modality, **options)(parts)["fused_rgb"]
    return case


@pytest.mark.parametrize(("style", "table", "modality", "form"), PAIRWISE)
def test_all_outputs_show_the_style(
    style: str, table: str, modality: str, form: str, tmp_path: Path
) -> None:
    source = "nifti" if form == "nifti" else "dicom"
    case = colored_case(modality, source, color_style=style, color_table=table)
    expected = np.rint(255 * case["fused_rgb"].numpy().astype(np.float64).clip(0, 1))
    if form != "nifti":
        SaveFusionDicomd(tmp_path, modality=modality, deterministic_uids=True)(case)
        series = next((tmp_path / "dicom").glob("*fused_rgb*"))
        images = [pydicom.dcmread(file) for file in sorted(series.glob("*.dcm"))]
        assert len(images) == expected.shape[3]
        for image in images:
            assert (image.PhotometricInterpretation, image.SamplesPerPixel) == ("RGB", 3)
            assert (image.BitsAllocated, image.BitsStored, image.HighBit) == (8, 8, 7)
        stored = np.stack([image.pixel_array for image in images])
        np.testing.assert_array_equal(np.sort(stored, axis=None), np.sort(expected, axis=None))
    SaveFusionOutputsd(tmp_path, modality=modality, output_format=form)(case)
    if form != "dicom":
        stored = np.asarray(nib.load(tmp_path / "fused_rgb.nii.gz").dataobj)
        colors = np.stack([stored[name] for name in ("R", "G", "B")])
        # Rounded in float32 there, so that a half may go the other way.
        assert np.abs(colors.astype(int) - expected).max() <= 1
        assert (colors != expected).mean() < 1e-3
    said = json.loads((tmp_path / "provenance.json").read_text())["reports"]["color"]["fused_rgb"]
    assert (said["style"], said["color_table"]) == (style, table)
    legend = legend_of(said)
    assert legend is not None
    assert colors_png(legend.colors) in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("style", COLOR_STYLES)
def test_fused_colors_are_those_of_the_legend(style: str) -> None:
    draw = torch.Generator().manual_seed(4)
    fixed, fused, uptake = torch.rand(3, 1, 6, 7, 5, generator=draw)
    case = {
        "fused": MetaTensor(fused),
        "moving_scaled": MetaTensor(2 * uptake - 1),
        "image": torch.cat([2 * fixed - 1, 2 * uptake - 1]),
    }
    rgb = ColorizeFusiond("PET", color_style=style)(case)["fused_rgb"]
    said = reports_of(rgb)["color"]
    legend = legend_of(said)
    assert legend is not None
    names = {"overlay": "MRI", "mixed": "fused and MRI"}
    assert legend.gray == names.get(style, "fused luminance")
    gray = {"overlay": fixed, "mixed": (fused + fixed) / 2}.get(style, fused)
    rows = ((1 - gray) * (len(legend.colors) - 1)).round().long().flatten()
    columns = (uptake * (len(legend.colors) - 1)).round().long().flatten()
    read = legend.colors[rows.numpy(), columns.numpy()]
    shown = rgb.as_tensor().flatten(1).T.numpy()
    assert np.abs(read - shown).max() < 0.05  # half a step of the legend
    assert np.abs(read - shown).mean() < 0.005


def test_a_fusion_without_a_table_has_no_legend() -> None:
    assert legend_of({"chroma": "bone", "luminance": "fused"}) is None
    color, luma = torch.rand(3, 4, 5, 6), MetaTensor(torch.rand(1, 4, 5, 6))
    case = {"fused": luma, "moving": MetaTensor(color), "image": torch.rand(2, 4, 5, 6)}
    for style in COLOR_STYLES:
        rgb = ColorizeFusiond("PET", color_style=style)(case)["fused_rgb"]
        assert legend_of(reports_of(rgb)["color"]) is None
        assert 0 <= float(rgb.min()) <= float(rgb.max()) <= 1
    two = {"style": "mixed", "color_tables": {"fdg": "orange", "amyloid": "cyan"}}
    assert legend_of(two) is None
    assert legend_of(two | {"color_tables": {}}) is None


@pytest.mark.parametrize("style", COLOR_STYLES)
def test_pictures_take_the_style(style: str) -> None:
    case = {
        "fused": torch.rand(1, 8, 9),
        "fixed": torch.rand(1, 8, 9),
        "moving": torch.rand(3, 8, 9),
    }
    rgb = ColorizePictured("PET", color_style=style)(case)["fused_rgb"]
    shared = (case["fused"] + case["fixed"]) / 2
    gray = {"overlay": case["fixed"], "mixed": shared}.get(style, case["fused"])
    expected = ColorStyle(name=style).join(gray, case["moving"])
    torch.testing.assert_close(rgb.as_tensor(), expected)
    assert reports_of(rgb)["color"]["style"] == style
    # The colors of a visible image are no uptake.
    visible = {**case, "fixed": case["moving"], "moving": case["fixed"]}
    street = ColorizePictured("IR", color_style=style)(visible)["fused_rgb"]
    assert reports_of(street)["color"]["style"] == "ycbcr"


def test_the_legend_in_the_record_has_the_numbers_of_the_run() -> None:
    said = ColorStyle(name="overlay", opacity=0.3).described() | {"color_table": "hot"}
    legend = legend_of(said)
    assert legend is not None
    own = legend_colors(ColorStyle(name="overlay", opacity=0.3), "hot", size=128)
    np.testing.assert_array_equal(legend.colors[::-1], own.movedim(0, -1).numpy())


def test_a_record_from_before_the_saturation_has_the_legend_of_its_time() -> None:
    then = {"style": "mixed", "color_table": "inferno", "color_luminance": 0.5, "anatomy": 0.3}
    own = ColorStyle(color_luminance=0.5, anatomy=0.3, saturation=1.0)
    legend = legend_of(then)
    assert legend is not None
    expected = legend_colors(own, "inferno", size=128).movedim(0, -1).numpy()
    np.testing.assert_array_equal(legend.colors[::-1], expected)
