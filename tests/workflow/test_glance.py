"""What is seen before anything heavy is loaded, and a run that is only planned."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from refused_runs import everything_in, head, nifti
from run_cases import NOTICE, command, demo_subject, one_sentence

from monai_ddfm.apps.demo import DemoSubject
from monai_ddfm.data.readers import open_volume, read_volume
from monai_ddfm.errors import InputError
from monai_ddfm.workflow import fuse
from monai_ddfm.workflow.glance import glance

QUICK = """
import sys
from monai_ddfm.cli import main
try: main()
except SystemExit as ended: print(ended.code, sorted({"torch", "monai", "itk"} & {*sys.modules}))
"""


@pytest.fixture(scope="module")
def pet(tmp_path_factory: pytest.TempPathFactory) -> DemoSubject:
    return demo_subject(tmp_path_factory.getbasetemp(), "PET", dicom=True)


Glancing = Callable[..., Any]


@pytest.fixture
def look(pet: DemoSubject, tmp_path: Path) -> Glancing:
    def run(
        fixed: Path = pet.fixed,
        moving: Path = pet.moving,
        modality: str = "PET",
        out: Path = tmp_path / "out",
        **options: Any,
    ) -> Any:
        return glance(fixed, moving, modality=modality, output_dir=out, options=options)

    return run


# --- headers


def test_headers_say_what_the_voxels_will(pet: DemoSubject) -> None:
    for path, kind in ((pet.fixed, "MR"), (pet.fixed_dicom, "MR"), (pet.moving_dicom, "PET")):
        assert path is not None
        opened, volume = open_volume(path, modality=kind), read_volume(path, modality=kind)
        assert opened.shape == volume.array.shape[1:]
        np.testing.assert_array_equal(opened.affine, volume.affine)
        assert opened.patient_id == volume.meta["patient_id"]
        np.testing.assert_array_equal(opened.load().array, volume.array)


def test_one_line_names_both_sources(pet: DemoSubject, look: Glancing) -> None:
    shape = " x ".join(map(str, nib.load(pet.fixed).shape))
    line = str(look())
    assert line.startswith(f"{pet.fixed.name} (MRI, {shape} voxels of ")
    assert f" and {pet.moving.name} (PET, " in line
    series = str(look(fixed=pet.fixed_dicom, moving=pet.moving_dicom))
    assert "(MRI, series 'Demo T1" in series
    assert "(PET, series 'Demo FDG PET" in series


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"steps": 0}, "steps 0 is unusable; give 1 to 1000"),
        ({"fidelity": 2.0}, "fidelity 2.0 is unusable; give 0 to 1"),
        ({"preset": "fast"}, "preset 'fast' is unknown; use default, reference"),
        ({"preset": "$1"}, "MONAI would evaluate"),
        ({"fixed_series": "nothing"}, ""),
        ({"modality": "XRAY"}, "'XRAY' is unknown"),
        ({"moving_frames": "two"}, "count them from 0"),
        ({"prior": Path("gone.pt")}, "gone.pt is not a file; check --prior"),
        ({"fixed": Path("gone.nii.gz")}, "gone.nii.gz does not exist"),
        ({"out": Path("/dev/null/out")}, "/dev/null"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], words: str, look: Glancing) -> None:
    if not words:  # a NIfTI file has no series
        look(**options)
        return
    with pytest.raises(InputError, match=words.replace("$", r"\$")):
        look(**options)


def test_other_patients_and_same_files_are_refused(
    pet: DemoSubject, look: Glancing, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="given twice"):
        look(moving=pet.fixed)
    with pytest.raises(InputError, match="would be written into"):
        look(fixed=pet.fixed_dicom, out=pet.fixed_dicom / "out")
    four = nifti(tmp_path / "four.nii.gz", np.stack([head()] * 2, axis=-1))
    # The frames of an MRI must be chosen; that is judged with its voxels.
    assert look(fixed=four).opened["fixed"].shape == (12, 12, 12)


def test_nothing_heavy_is_loaded_before_headers_are_judged(
    pet: DemoSubject, tmp_path: Path
) -> None:
    flat = nifti(tmp_path / "flat.nii.gz", head()[:, :, :1])
    call = ["fuse", "--fixed", pet.fixed, "--moving", flat, "--modality", "PET", "-o", "out"]
    done = subprocess.run(
        [sys.executable, "-c", QUICK, *map(str, call)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "flat.nii.gz is not a volume" in one_sentence(done.stderr)
    assert done.stdout == "2 []\n"


# --- a dry run


def test_a_dry_run_tells_the_plan_and_writes_nothing(
    pet: DemoSubject, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    call = ("--fixed", pet.fixed_dicom, "--moving", pet.moving_dicom, "--modality", "PET")
    before = everything_in(tmp_path)
    status, out, err = command(
        capfd, "fuse", *call, "-o", tmp_path / "a" / "out", "--dry-run", "--device", "cpu"
    )
    assert status == 0
    assert everything_in(tmp_path) == before
    assert err.startswith("found ")
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert {"fixed", "moving", "patient", "registration", "grid", "method", "results", "time"} == {
        *lines
    }
    assert "MR, series 'Demo T1" in lines["fixed"]
    assert lines["moving"].endswith(", SUVbw")
    assert "the same patient ID" in lines["patient"]
    assert "preset default, on cpu" in lines["method"]
    assert "if neither source is noisy" in lines["time"]
    assert NOTICE in lines["time"]


def test_a_dry_run_refuses_what_a_run_refuses(
    pet: DemoSubject, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    constant = nifti(tmp_path / "constant.nii.gz", np.full((12, 12, 12), 3.0, np.float32))
    call = ("--fixed", pet.fixed, "--moving", constant, "--modality", "PET", "--dry-run")
    status, out, err = command(capfd, "fuse", *call, "-o", tmp_path / "out")
    assert (status, out) == (2, "")
    assert "constant.nii.gz" in one_sentence(err)


def test_a_dry_run_from_python(pet: DemoSubject, tmp_path: Path) -> None:
    result = fuse(
        *(pet.fixed, pet.moving),
        modality="PET",
        output_dir=tmp_path / "out",
        preset="reference",
        steps=40,
        samples=3,
        spacing=6.0,
        device="cpu",
        dry_run=True,
    )
    plan = result.provenance["plan"]
    assert not result.files
    assert not (tmp_path / "out").exists()
    assert plan["grid"]["spacing_mm"] == [6.0, 6.0, 6.0]
    assert plan["seconds"] > 0
    assert plan["seconds_if_clean"] is None  # the published loop always runs the prior
    assert (plan["preset"], plan["fusions"]) == ("reference", 4)
