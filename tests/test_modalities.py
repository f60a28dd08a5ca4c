"""A modality is a row: what the rows say is what every part of the program goes by."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from cohort_makers import save, volumes
from pydicom import dcmread
from pydicom.uid import UID, MRImageStorage
from run_cases import saved_prior

from monai_ddfm.apps.demo.modalities import Volume
from monai_ddfm.apps.label.pairing import PairingRules
from monai_ddfm.errors import InputError
from monai_ddfm.modalities import ROWS, Modality
from monai_ddfm.transforms.windows import parse_window
from monai_ddfm.workflow import fuse


def test_every_modality_has_a_row() -> None:
    assert set(ROWS) == {modality.value for modality in Modality}
    codes = [code for row in ROWS.values() for code in row.codes]
    words = [word for row in ROWS.values() for word in row.words.split()]
    assert len(codes) == len(set(codes))
    assert len(words) == len(set(words))


@pytest.mark.parametrize("modality", Modality, ids=str)
def test_rows_say_what_is_true(modality: Modality) -> None:
    row = modality.row
    for name in (modality.value.lower(), *row.names, *row.codes):
        assert Modality.parse(name) is modality
    for window in (row.window, *row.windows):
        parse_window(window, modality)
    assert UID(row.sop_class).name.endswith("Storage")
    assert row.averaged or not row.in_color


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """An MRI, and a volume of gray levels as an ultrasound leaves them."""
    base = tmp_path_factory.mktemp("ultrasound")
    mri, other = volumes(1)
    echo = np.rint(255 * (other.data / other.data.max()) ** 0.5).astype(np.uint8)
    parts = {"a_t1": mri, "a_us": Volume(echo, other.affine)}
    return [save(base / f"{name}.nii.gz", volume) for name, volume in parts.items()]


def test_an_ultrasound_is_fused(pair: list[Path], tmp_path: Path) -> None:
    settings = {"registration": "none", "device": "cpu", "prior": saved_prior(tmp_path)}
    result = fuse(*pair, modality="us", output_dir=tmp_path / "out", **settings)  # type: ignore[arg-type]
    assert "fused_rgb.nii.gz" not in result.files
    noise = result.provenance["reports"]["noise"]["fused"]
    assert result.provenance["bound"]["largest"] <= noise["margin"] + 1e-5
    report = json.loads(json.dumps(result.provenance["reports"]))
    assert report["reading"]["moving"]["modality"] == "US"
    assert report["intensity"]["moving_scaled"]["window"] == "maximum"
    fused = nib.load(result.files["fused.nii.gz"]).get_fdata()
    assert 0.5 < fused.max() <= 1


def test_an_mri_is_fused_with_another(tmp_path: Path) -> None:
    mri, other = volumes(1)
    flair = np.rint(400 * (other.data / other.data.max()) ** 0.5).astype(np.float32) / 8
    parts = {"t1": mri, "flair": Volume(flair, other.affine)}
    paths = [save(tmp_path / f"{name}.nii.gz", volume) for name, volume in parts.items()]
    result = fuse(
        *paths,
        modality="MR",
        output_dir=tmp_path / "out",
        format="both",
        bids={"root": tmp_path / "bids", "subject": "07"},
        registration="rigid",
        device="cpu",
        prior=saved_prior(tmp_path),
    )
    assert "fused_rgb.nii.gz" not in result.files
    noise = result.provenance["reports"]["noise"]["fused"]
    assert result.provenance["bound"]["largest"] <= noise["margin"] + 1e-5
    windows = result.provenance["reports"]["intensity"]
    assert windows["fixed_scaled"]["modality"] == windows["moving_scaled"]["modality"] == "MR"
    assert windows["fixed_scaled"]["upper"] != windows["moving_scaled"]["upper"]
    names = {path.name for path in tmp_path.glob("bids/sub-07/**/*_mr.nii.gz")}
    assert any("desc-fused" in name for name in names)
    series = [dcmread(path) for path in sorted(tmp_path.glob("out/**/moving_registered/*.dcm"))]
    assert len(series) == mri.data.shape[2]
    registered = nib.load(result.files["moving_registered.nii.gz"]).get_fdata()
    (scale,) = series[0].RealWorldValueMappingSequence
    for image in series:
        assert image.SOPClassUID == MRImageStorage
        assert image.Modality == "MR"
        assert "RescaleSlope" not in image
    stored = np.stack([image.pixel_array for image in series])
    values = stored * scale.RealWorldValueSlope + scale.RealWorldValueIntercept
    assert values.max() == pytest.approx(registered.max(), abs=scale.RealWorldValueSlope)


def test_what_has_no_dicom_object_is_refused_and_not_written_as_another(
    pair: list[Path], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="a US cannot be written as DICOM; use format=nifti"):
        fuse(*pair, modality="US", output_dir=tmp_path / "out", format="both", device="cpu")
    assert not (tmp_path / "out").exists()


def test_the_server_knows_it_by_name() -> None:
    assert PairingRules().identify("case7_us") == ("case7", Modality.US)
    assert PairingRules().identify("case7_t1") == ("case7", Modality.MR)
