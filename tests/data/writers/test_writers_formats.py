"""Formats are rows: each writes all the maps of a run, and NRRD puts them into one file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from cohort_makers import save, volumes
from monai.data import MetaTensor
from run_cases import NOTICE, saved_prior

from monai_ddfm.data.writers.formats import FORMATS, VOLUME_NAMES, format_named
from monai_ddfm.data.writers.maps import Maps
from monai_ddfm.errors import InputError
from monai_ddfm.sources import Moved, as_sources, sources_of
from monai_ddfm.workflow import FusionResult, fuse


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, FusionResult]:
    base = tmp_path_factory.mktemp("formats")
    paths = [save(base / f"{n}.nii.gz", v) for n, v in zip("ab", volumes(1), strict=True)]
    settings: dict[str, Any] = {"registration": "none", "samples": 2, "device": "cpu"}
    settings |= {"recover_moving": 6.0}
    settings |= {"modality": "PET", "prior": saved_prior(base)}
    formats = ("nifti", "nrrd")
    return {f: fuse(*paths, output_dir=base / f, format=f, **settings) for f in formats}  # type: ignore[arg-type]


def test_all_maps_are_in_one_file_on_the_same_grid(results: dict[str, FusionResult]) -> None:
    assert set(results["nrrd"].files).isdisjoint(FORMATS["nifti"].names)
    image = sitk.ReadImage(str(results["nrrd"].files["fusion.nrrd"]))
    names = image.GetMetaData("ddfm_components").split()
    assert image.GetMetaData("ddfm_notice") == NOTICE
    assert image.GetNumberOfComponentsPerPixel() == len(names)
    voxels = sitk.GetArrayFromImage(image)
    on_request = ("fused_std", "fused_low", "fused_high", "weight_stability", "moving_recovered")
    for name in ("fused", "weight", "moving_registered", *on_request):
        file = results["nifti"].files[f"{name}.nii.gz"]
        np.testing.assert_array_equal(voxels[..., names.index(name)].T, nib.load(file).get_fdata())
    ours, theirs = image, sitk.ReadImage(str(results["nifti"].files["fused.nii.gz"]))
    for index in ((0, 0, 0), tuple(size - 1 for size in ours.GetSize())):
        at = [one.TransformIndexToPhysicalPoint(index) for one in (ours, theirs)]
        np.testing.assert_allclose(*at, atol=1e-3)
    assert {"fused_rgb_red", "fused_rgb_green", "fused_rgb_blue", "fixed"} <= set(names)


def test_same_maps_same_bytes(results: dict[str, FusionResult], tmp_path: Path) -> None:
    affine = np.diag([2.0, 3, 4, 1])
    affine[:3, 3] = (5, 6, 7)
    fixed = MetaTensor(torch.rand(1, 4, 5, 6), affine=torch.as_tensor(affine))
    (source,) = as_sources("CT")
    moved = (Moved(source=source, volume=fixed),)
    maps = Maps(fixed=fixed, fused=fixed, moved=moved)
    write = FORMATS["nrrd"].write
    assert write is not None
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write(maps, lambda file, folder=tmp_path / name: folder / file)  # type: ignore[misc]
    first, second = (tmp_path / name / "fusion.nrrd" for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()
    image = sitk.ReadImage(str(first))
    assert image.GetOrigin() == (-5.0, -6.0, 7.0)
    assert image.GetSpacing() == (2.0, 3.0, 4.0)
    assert image.GetMetaData("ddfm_components") == "fused fixed moving_registered"


def test_the_stability_of_each_weight_is_a_component(tmp_path: Path) -> None:
    one = MetaTensor(torch.rand(1, 4, 5, 6), affine=torch.eye(4))
    moved = tuple(
        Moved(source=source, volume=one, weight=one, stability=one - number)
        for number, source in enumerate(sources_of(["a", "b"], ["PET", "CT"]))
    )
    maps = Maps(fixed=one, fused=one, moved=moved, spread={"fused_std": one})
    write = FORMATS["nrrd"].write
    assert write is not None
    write(maps, lambda file: tmp_path / file)
    image = sitk.ReadImage(str(tmp_path / "fusion.nrrd"))
    names = image.GetMetaData("ddfm_components").split()
    assert names == [
        "fused",
        "weight_pet",
        "weight_ct",
        "fused_std",
        "weight_stability_pet",
        "weight_stability_ct",
        "fixed",
        "moving_registered_pet",
        "moving_registered_ct",
    ]
    voxels = sitk.GetArrayFromImage(image)[..., names.index("weight_stability_ct")].T
    np.testing.assert_array_equal(voxels, (one - 1)[0])


def test_a_format_is_a_row() -> None:
    assert {"fused.nii.gz", "fusion.nrrd"} <= set(VOLUME_NAMES)
    assert [name for name, row in FORMATS.items() if row.dicom] == ["dicom", "both"]
    with pytest.raises(InputError, match="format 'png' is unknown; use nifti, dicom, both, nrrd"):
        format_named("png")
