"""The demo's trunks: the same for a seed, apart by what is called true, and with all they name."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from bodies import abdomen, scans_of_abdomen, truth_of
from demo_scans import as_array, as_itk
from scipy import ndimage

from monai_ddfm.apps.demo import make_demo
from monai_ddfm.apps.demo.body import BODIES, build_body
from monai_ddfm.errors import InputError
from monai_ddfm.transforms.loading import LoadVolume


def test_tissues_of_a_trunk_fill_it_and_no_more():
    for name in BODIES:
        body = build_body(name, 3, voxel=8.0)
        whole = sum(body.tissues.values())
        assert whole.min() > -1e-5
        assert whole.max() < 1 + 1e-5
        assert all(part.max() > 0.3 for part in (*body.tissues.values(), body.lesions["hot"]))
        again = build_body(name, 3, voxel=8.0)
        assert all(np.array_equal(body.tissues[key], again.tissues[key]) for key in body.tissues)
        other = build_body(name, 4, voxel=8.0)
        assert not np.array_equal(body.tissues["fat"], other.tissues["fat"])


@pytest.mark.parametrize("modality", ["CT", "PET"])
def test_the_true_transform_of_a_trunk_aligns_its_scan(modality: str):
    """The hot lesions, or the bones, of the anatomy lie where the scan shows them."""
    body, (_, scan) = abdomen(), scans_of_abdomen(modality)
    seen = as_itk(scan.data, scan.affine)
    shown = body.lesions["hot"] if modality == "PET" else body.tissues["bone"]
    target = as_itk(shown, body.affine)
    inverse = truth_of(modality).GetInverse()

    def score(transform: sitk.Transform) -> float:
        moved = as_array(sitk.Resample(seen, target, transform, sitk.sitkLinear, -1000.0))
        return float(np.corrcoef(moved.ravel(), shown.ravel())[0, 1])

    assert score(inverse) > 1.2 * score(sitk.Euler3DTransform())
    assert score(inverse) > 1.2 * score(truth_of(modality))


def test_a_ct_of_a_trunk_has_tissue_in_hounsfield_units_and_a_table():
    body, (_, scan) = abdomen(), scans_of_abdomen("CT")
    truth = truth_of("CT")
    reference = as_itk(scan.data, scan.affine)
    for tissue, expected in (("fat", -100), ("liver", 62), ("muscle", 55)):
        share = as_array(sitk.Resample(as_itk(body.tissues[tissue], body.affine), reference, truth))
        inside = ndimage.minimum_filter(share, 3) > 0.99
        assert np.median(scan.data[inside]) == pytest.approx(expected, abs=12)
    below = scan.data[:, -22:]  # the second axis runs to the back
    assert (below > -960).any()


def test_a_trunk_is_written_with_its_part_in_the_header(tmp_path: Path):
    made = make_demo(tmp_path, subject="pelvis", modality="CT", scale=4, dicom=True)
    assert made.fixed.name == "mri.nii.gz"
    assert made.truth.name == "ct_to_mri_truth.tfm"
    assert nib.load(made.moving).shape == (38, 28, 18)
    assert LoadVolume(modality="MR")(made.fixed_dicom).meta["body_part"] == "PELVIS"
    assert dataclasses.replace(made, subject="pelvis") == made


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"subject": "knee"}, "unknown subject 'knee' for the demo: use head, pelvis, abdomen"),
        ({"subject": "pelvis", "modality": "SPECT"}, "no SPECT of the pelvis: use CT or PET"),
    ],
)
def test_a_trunk_that_cannot_be_is_refused(tmp_path: Path, options: dict, message: str):
    with pytest.raises(InputError, match=message):
        make_demo(tmp_path / "new", **options)
    assert not (tmp_path / "new").exists()
