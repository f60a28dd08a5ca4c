"""Bad DICOM, pairs that do not belong together, disks that refuse: through the whole program."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import dicom_makers as make
import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from pydicom.dataset import Dataset
from run_cases import command
from volume_checks import noise

from monai_ddfm.apps.demo import DemoSubject


@pytest.fixture
def refuse(refuse: Callable[..., str], tmp_path: Path) -> Callable[..., str]:
    """With DICOM and BIDS too: nothing may be written, neither here nor there."""
    bids = {"bids_root": tmp_path / "results" / "bids", "bids_subject": "01"}
    return partial(refuse, format="both", **bids)


# --- DICOM


def two_patients(folder: Path) -> Path:
    def change(dataset: Dataset, k: int) -> None:
        dataset.PatientID = "P2" if k > 2 else "P1"

    return make.series(folder, noise(), change=change)


def missing_slices(folder: Path) -> Path:
    return make.series(folder, noise(), depths=[0, 1, 2, 5, 6, 7])


def duplicate_positions(folder: Path) -> Path:
    return make.series(folder, noise(), depths=[0, 1, 2, 2, 3, 4])


def truncated(folder: Path) -> Path:
    victim = min(make.series(folder, noise()).iterdir())
    victim.write_bytes(victim.read_bytes()[:-30])
    return folder


def no_pixels(folder: Path) -> Path:
    def change(dataset: Dataset, k: int) -> None:
        if k == 1:
            del dataset.PixelData

    return make.series(folder, noise(), change=change)


def localizer(folder: Path) -> Path:
    return make.series(folder, noise(), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])


def text_as_dicom(folder: Path) -> Path:
    (make.series(folder, noise()) / "slice9.dcm").write_text("Dear colleague, " * 50)
    return folder


def several_series(folder: Path) -> Path:
    for number in (3, 4):
        name = f"series {number}"
        uid = f"1.2.3.4.{number}"
        make.series(folder / name, noise(), SeriesInstanceUID=uid, SeriesDescription=name)
    return folder


MRI: dict[Callable[[Path], Path], str] = {
    two_patients: "2 patients",
    missing_slices: "lacks about 2 slice",
    duplicate_positions: "2 different slices at the position",
    truncated: ".dcm",
    no_pixels: "no pixel data",
    localizer: "localizer",
    text_as_dicom: "slice9.dcm is not a DICOM image",
    several_series: "'series 3' (MR, number",
}


@pytest.mark.parametrize("make_folder", MRI, ids=lambda f: f.__name__)
def test_a_folder_that_is_no_sound_series_is_refused(
    make_folder: Callable[[Path], Path], tmp_path: Path, refuse: Callable[..., str]
) -> None:
    folder = make_folder(tmp_path / "Köpfe von früher")
    said = refuse(fixed=folder)
    assert str(folder) in said
    assert MRI[make_folder] in said


def test_a_pet_of_nothing_but_zeros(tmp_path: Path, refuse: Callable[..., str]) -> None:
    folder = make.series(tmp_path / "pet", noise() * 0, modality="PT", Units="BQML")
    assert "every voxel" in refuse(moving=folder)


def test_hounsfield_units_that_cannot_be(tmp_path: Path, refuse: Callable[..., str]) -> None:
    path = tmp_path / "ct.nii.gz"
    data = np.random.default_rng(0).uniform(0, 1e6, (12, 12, 12)).astype(np.float32)
    nib.save(nib.Nifti1Image(data, np.eye(4)), path)
    said = refuse(moving=path, modality="CT")
    assert str(path) in said
    assert "no Hounsfield units" in said


# --- pairs


def test_two_patients_are_not_fused_unless_that_is_wanted(
    pet: DemoSubject, tmp_path: Path, refuse: Callable[..., str]
) -> None:
    assert pet.moving_dicom is not None
    other = tmp_path / "other"
    other.mkdir()
    for file in pet.moving_dicom.iterdir():
        dataset = make.reread(file)
        dataset.PatientID = "SOMEBODY-ELSE"
        dataset.save_as(other / file.name)
    said = refuse(fixed=pet.fixed_dicom, moving=other)
    assert "different patients" in said
    assert "--allow-patient-mismatch" in said
    assert "SOMEBODY" not in said
    # Allowed, it gets as far as the next mistake.
    also = {"window": "0..0", "allow-patient-mismatch": True}
    assert "0..0" in refuse(fixed=pet.fixed_dicom, moving=other, **also)


def test_no_overlap_after_registration(
    pet: DemoSubject, tmp_path: Path, refuse: Callable[..., str]
) -> None:
    far = sitk.TranslationTransform(3, (0.0, 900.0, 0.0))
    sitk.WriteTransform(far, str(tmp_path / "far.tfm"))
    said = refuse(registration=tmp_path / "far.tfm")
    assert "covers 0% of the fixed head" in said
    assert str(pet.moving) in said


def test_headers_that_do_not_meet_name_the_option_that_helps(
    pet: DemoSubject, tmp_path: Path, refuse: Callable[..., str]
) -> None:
    image = nib.load(pet.moving)
    affine = image.affine.copy()
    affine[:3, 3] += 5000
    path = tmp_path / "far.nii.gz"
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), affine), path)
    assert "--registration-start centers" in refuse(moving=path, registration="rigid")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"registration-start": "middle"}, "'middle'"),
        ({"invert-transform": True}, "nothing to invert"),
        ({"moving-frames": "x"}, "'x'"),
        ({"moving-frames": "7"}, "single time frame"),
        ({"fixed-series": "FLAIR", "fixed": "dicom"}, "no series 'FLAIR'"),
        ({"spacing": "-1"}, "spacing"),
        ({"spacing": "0.01"}, "use a larger spacing"),
        ({"slice-along": "oblique"}, "'oblique'"),
        ({"color-table": "mauve"}, "'mauve'"),
        ({"bone-tint": True}, "leave it out for PET"),
        ({"window": "cerebellum"}, "--reference-mask"),
        ({"reference-mask": "gone.nii.gz"}, "gone.nii.gz is not a file; check --reference-mask"),
        ({"landmarks": "gone.json"}, "gone.json is not a file; check --landmarks"),
        ({"patient-sex": "X"}, "'X'"),
        ({"series-number": "0"}, "series number 0"),
        ({"bids-subject": "a-b"}, "letters and digits"),
        ({"format": "nifti", "push": "A@localhost:1"}, "--format dicom"),
        ({"format": "nifti", "patient-id": "1"}, "--format dicom"),
    ],
    ids=str,
)
def test_an_option_that_cannot_be_is_refused_with_dicom_and_bids(
    options: dict[str, Any], words: str, pet: DemoSubject, refuse: Callable[..., str]
) -> None:
    if options.get("fixed") == "dicom":
        options = options | {"fixed": pet.fixed_dicom}
    assert words in refuse(**options)


def test_landmarks_of_another_kind(tmp_path: Path, refuse: Callable[..., str]) -> None:
    path = tmp_path / "landmarks.json"
    for content, words in (("{", "no list of numbers"), ("[1, 2]", "11 values")):
        path.write_text(content)
        assert words in refuse(landmarks=path)


# --- disks


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mount small disks of their own; only where this process may."""
    mounted: list[Path] = []

    def make_disk(options: str) -> Path:
        place = tmp_path / f"disk {len(mounted)}"
        place.mkdir()
        call = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
        try:
            subprocess.run(call, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("this process may not mount a disk")
        mounted.append(place)
        return place

    yield make_disk
    for place in mounted:
        subprocess.run(["umount", str(place)], check=True)


def test_a_read_only_disk(mount: Callable[[str], Path], refuse: Callable[..., str]) -> None:
    disk = mount("size=1m,ro")
    said = refuse(**{"output-dir": disk / "out"})
    assert "read-only" in said
    assert str(disk) in said
    assert "read-only" in refuse(**{"bids-root": disk / "bids"})


@pytest.mark.slow
@pytest.mark.parametrize("room", ["64k", "1m"])
def test_a_disk_that_is_full_in_the_middle(
    room: str,
    pet: DemoSubject,
    mount: Callable[[str], Path],
    capfd: pytest.CaptureFixture[str],
) -> None:
    disk = mount(f"size={room}")
    (disk / "out").mkdir()
    (disk / "out" / "fused.nii.gz").write_bytes(b"earlier")
    status, out, err = command(
        capfd,
        *("fuse", "--fixed", pet.fixed, "--moving", pet.moving, "--modality", "PET"),
        *("-o", disk / "out", "--registration", "none", "--steps", 1, "--device", "cpu"),
        *("--format", "both"),
    )
    assert (status, out) == (2, "")
    lines = [line for line in err.splitlines() if "would still move" not in line]
    assert len(lines) == 1
    assert "the disk is full" in lines[0]
    # Finished slices are kept for the next run; nothing else is.
    left = [p for p in (disk / "out").rglob("*") if p.is_file()]
    names = {p.name for p in left if not p.parent.name.startswith(".ddfm-work-")}
    assert names == {"fused.nii.gz"}
    assert (disk / "out" / "fused.nii.gz").read_bytes() == b"earlier"
