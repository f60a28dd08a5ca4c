"""Inputs, outputs and work in one place: nothing is lost, and one sentence says what to change."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image
from run_cases import command, demo_subject, one_sentence, saved_prior

from monai_ddfm import fuse
from monai_ddfm.apps.cohort.cases import Selection
from monai_ddfm.apps.cohort.finding import find_cases
from monai_ddfm.apps.cohort.folders import check_places, cleared_cases
from monai_ddfm.apps.cohort.profiles import read_profile
from monai_ddfm.apps.label.pairing import PairingRules
from monai_ddfm.data.writers import WorkFolder
from monai_ddfm.errors import InputError
from monai_ddfm.transforms.landmark_files import read_landmarks
from monai_ddfm.utils.files import StagedFolder
from monai_ddfm.utils.hashes import describe_input

FAST = ("--steps", "2", "--registration", "none", "--device", "cpu")


def content(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    """A prior that is read in no time."""
    return saved_prior(tmp_path_factory.mktemp("prior"))


@pytest.fixture
def refuse(capfd, tmp_path: Path, small: Path):
    """Run a command that must be refused and must leave everything as it was."""

    def run(*arguments: object) -> str:
        before = content(tmp_path)
        own = () if arguments[0] != "fuse" or "--prior" in arguments else ("--prior", small)
        status, _, err = command(capfd, *arguments, *own)
        assert status == 2, err
        assert content(tmp_path) == before
        return one_sentence(err)

    return run


@pytest.fixture(scope="module")
def pet(tmp_path_factory):
    return demo_subject(tmp_path_factory.mktemp("pet"))


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    return demo_subject(tmp_path_factory.mktemp("series"), dicom=True)


@pytest.mark.parametrize(
    ("name", "role", "form"),
    [
        ("fused.nii.gz", "fixed", "nifti"),
        ("weight.nii.gz", "moving", "dicom"),
        ("moving_registered.nii.gz", "moving", "nifti"),
        ("fused_rgb.nii.gz", "fixed", "both"),
    ],
)
def test_an_input_with_the_name_of_a_result(pet, tmp_path, refuse, name, role, form) -> None:
    out = tmp_path / "out"
    out.mkdir()
    inputs = {"fixed": pet.fixed, "moving": pet.moving}
    inputs[role] = shutil.copy(inputs[role], out / name)
    said = refuse(
        "fuse", "--fixed", inputs["fixed"], "--moving", inputs["moving"], "--modality", "PET",
        "-o", out, "--format", form, *FAST,
    )  # fmt: skip
    assert name in said


def test_other_ways_to_the_same_file(pet, tmp_path, refuse) -> None:
    out = tmp_path / "out"
    out.mkdir()
    kept = shutil.copy(pet.fixed, out / "fused.nii.gz")
    (tmp_path / "link.nii.gz").symlink_to(kept)
    (tmp_path / "alias").symlink_to(out)
    rest = ("--moving", pet.moving, "--modality", "PET", *FAST)
    for fixed, target in (
        (tmp_path / "link.nii.gz", out),
        (kept, tmp_path / "alias"),
        (out / ".." / "out" / "fused.nii.gz", out),
        (tmp_path / "alias" / "fused.nii.gz", out),
    ):
        assert "fused.nii.gz" in refuse("fuse", "--fixed", fixed, "-o", target, *rest)
    # The name in the output folder is a link to the input.
    Path(kept).rename(tmp_path / "t1.nii.gz")
    Path(kept).symlink_to(tmp_path / "t1.nii.gz")
    assert "t1.nii.gz" in refuse("fuse", "--fixed", tmp_path / "t1.nii.gz", "-o", out, *rest)


def test_other_files_that_are_read(pet, tmp_path, refuse) -> None:
    out = tmp_path / "out"
    out.mkdir()
    base = ["fuse", "--fixed", pet.fixed, "--moving", pet.moving, "--modality", "PET", "-o", out]
    (out / "transform.tfm").write_text(
        "#Insight Transform File V1.0\n#Transform 0\nTransform: TranslationTransform_double_3_3\n"
        "Parameters: 0 0 0\nFixedParameters:\n"
    )
    steps = ("--steps", "2", "--device", "cpu")
    assert "registration" in refuse(*base, "--registration", out / "transform.tfm", *steps)
    mask = shutil.copy(pet.fixed, out / "weight.nii.gz")
    assert "reference mask" in refuse(*base, "--reference-mask", mask, *FAST)
    prior = saved_prior(tmp_path)
    shutil.move(prior.with_suffix(".json"), out / "provenance.json")
    shutil.move(prior, out / "provenance.pt")
    assert "prior" in refuse(*base, "--prior", out / "provenance.pt", *FAST)


def test_a_series_where_results_go(series, tmp_path, refuse) -> None:
    out = tmp_path / "out"
    for place in ("dicom/fused", "dicom/fixed", "dicom/mine", "dicom"):
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(series.moving_dicom, out / place)
        for form in ("dicom", "nifti"):
            said = refuse(
                "fuse", "--fixed", series.fixed, "--moving", out / place, "--modality", "PET",
                "-o", out, "--format", form, *FAST,
            )  # fmt: skip
            assert str(out / place) in said


def test_a_foreign_series_where_results_go_is_not_touched(series, tmp_path, refuse) -> None:
    foreign = tmp_path / "out" / "dicom" / "fused"
    shutil.copytree(series.moving_dicom, foreign)
    for number, path in enumerate(sorted(foreign.iterdir()), start=1):
        path.rename(foreign / f"{number:04d}.dcm")
    said = refuse(
        "fuse", "--fixed", series.fixed, "--moving", series.moving, "--modality", "PET",
        "-o", tmp_path / "out", "--format", "dicom", *FAST,
    )  # fmt: skip
    assert "not of a run" in said


def test_results_into_a_series(series, tmp_path, refuse) -> None:
    study = shutil.copytree(series.moving_dicom, tmp_path / "study")
    for out in (study, study / "out"):
        said = refuse(
            "fuse", "--fixed", series.fixed, "--moving", study, "--modality", "PET",
            "-o", out, *FAST,
        )  # fmt: skip
        assert "which is read" in said


def test_a_bids_derivative_over_its_input(pet, tmp_path, refuse) -> None:
    path = tmp_path / "bids/sub-01/pet/sub-01_space-T1w_desc-registered_pet.nii.gz"
    path.parent.mkdir(parents=True)
    shutil.copy(pet.moving, path)
    said = refuse(
        "fuse", "--fixed", pet.fixed, "--moving", path, "--modality", "PET",
        "-o", tmp_path / "out", "--bids-root", tmp_path / "bids", "--bids-subject", "01", *FAST,
    )  # fmt: skip
    assert path.name in said


def test_pictures(tmp_path, refuse) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        for name in ("x", "x_weight"):
            levels = np.random.default_rng(len(name)).integers(0, 255, (40, 40), np.uint8)
            Image.fromarray(levels).save(tmp_path / folder / f"{name}.jpg")
    a, b = tmp_path / "a", tmp_path / "b"
    Image.open(b / "x_weight.jpg").save(tmp_path / "y_weight.png")
    call = ("fuse-2d", a / "x.jpg", tmp_path / "y_weight.png", "--modality", "IR")
    assert "y_weight.png" in refuse(*call, "-o", tmp_path / "y.png", "--weight")
    assert "which is read" in refuse("fuse-2d", a, b, "--modality", "IR", "-o", a)


def test_figures_over_an_image(pet, tmp_path, refuse) -> None:
    image = shutil.copy(pet.fixed, tmp_path / "t1.nii.gz")
    call = ("evaluate", image, "--fixed", pet.fixed, "--moving", pet.moving, "--modality", "PET")
    assert "t1.nii.gz" in refuse(*call, "--json", image)
    (tmp_path / "provenance.json").write_text("{}")
    assert "provenance.json" in refuse("evaluate", tmp_path, "--json", tmp_path / "provenance.json")


def test_priors_over_priors(tmp_path, refuse) -> None:
    (tmp_path / "one").mkdir()
    first, second = saved_prior(tmp_path), saved_prior(tmp_path / "one")
    for target in (first, second, second.with_suffix(".pth")):
        assert "prior" in refuse("prior", "average", first, second, "-o", target)
    assert "prior" in refuse("prior", "convert", first, first.with_suffix(".bin"))


# --- cohorts -----------------------------------------------------------------------------------


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A table of one pair, in a folder."""
    folder = tmp_path / "study"
    folder.mkdir()
    for name in ("t1", "pet"):
        data = np.random.default_rng(1).random((8, 8, 8), np.float32)
        nib.save(nib.Nifti1Image(data, np.eye(4)), folder / f"{name}.nii.gz")
    (folder / "pairs.csv").write_text(
        "subject,fixed,moving,modality\n01,t1.nii.gz,pet.nii.gz,PET\n"
    )
    return folder


def test_a_folder_named_cases_is_not_cleared(study, tmp_path, refuse) -> None:
    mine = tmp_path / "mine"
    (mine / "cases").mkdir(parents=True)
    (mine / "cases" / "thesis.txt").write_text("years of work")
    said = refuse("cohort", study / "pairs.csv", tmp_path / "out", "participant", "-w", mine, *FAST)
    assert "was not made by a run" in said
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "thesis.txt").write_text("years of work")
    other = tmp_path / "other"
    other.mkdir()
    (other / "cases").symlink_to(tmp_path / "real")
    refuse("cohort", study / "pairs.csv", tmp_path / "out", "participant", "-w", other, *FAST)


def test_input_that_is_called_cases(study, tmp_path, refuse) -> None:
    cases = study.rename(tmp_path / "cases")
    table = cases / "pairs.csv"
    for work in (tmp_path, cases):
        refuse("cohort", table, tmp_path / "out", "participant", "-w", work, *FAST)
    shutil.move(table, tmp_path / "pairs.csv")
    text = (tmp_path / "pairs.csv").read_text()
    (tmp_path / "pairs.csv").write_text(
        text.replace("t1.", "cases/t1.").replace(",pet.", ",cases/pet.")
    )
    (tmp_path / ".monai-ddfm").mkdir()
    (tmp_path / ".monai-ddfm" / "work").touch()  # even where a run has been at work before
    refuse(
        "cohort",
        tmp_path / "pairs.csv",
        tmp_path.parent / "out",
        "participant",
        "-w",
        tmp_path,
        *FAST,
    )


@pytest.mark.parametrize(
    ("out", "work"),
    [("study", "w"), ("out", "study"), ("out", "out"), ("out", "out/w"), ("w/out", "w"),
     ("study/out", "w"), ("out", "study/w"), (".", "w"), ("out", "."), ("link", "w")],
)  # fmt: skip
def test_folders_in_each_other(study, tmp_path, refuse, out, work) -> None:
    (study / "pairs.csv").unlink()
    (study / "dataset_description.json").write_text(
        json.dumps({"Name": "x", "BIDSVersion": "1.10.0"})
    )
    for kind, suffix in (("anat", "T1w"), ("pet", "pet")):
        (study / "sub-01" / kind).mkdir(parents=True)
        name = {"T1w": "t1", "pet": "pet"}[suffix]
        shutil.move(study / f"{name}.nii.gz", study / f"sub-01/{kind}/sub-01_{suffix}.nii.gz")
    (tmp_path / "link").symlink_to(study)
    refuse("cohort", study, tmp_path / out, "participant", "-w", tmp_path / work, *FAST)


def test_where_bids_wants_results_they_may_go(tmp_path: Path) -> None:
    check_places(tmp_path, tmp_path / "derivatives" / "x", tmp_path / "derivatives" / "x_work")


def test_only_what_is_marked_is_cleared(tmp_path: Path) -> None:
    (tmp_path / "cases").mkdir()
    cases = cleared_cases(tmp_path)  # it was empty
    (cases / "sub-01_pet-abc").mkdir()
    assert list(cleared_cases(tmp_path).iterdir()) == []
    (tmp_path / "new" / "cases").mkdir(parents=True)
    (tmp_path / "new" / "cases" / "x").touch()
    with pytest.raises(InputError, match="not made by a run"):
        cleared_cases(tmp_path / "new")


def test_the_work_of_another_process_stays(tmp_path: Path) -> None:
    live, other = WorkFolder(tmp_path), WorkFolder(tmp_path)
    live.open("a" * 64)
    live.keep({0: torch.zeros(2, 3, 3)})
    other.open("b" * 64)
    other.keep({0: torch.zeros(2, 3, 3)})
    other.clear()
    assert [path.name for path in tmp_path.iterdir()] == [f".ddfm-work-{'a' * 20}"]
    live.keep({1: torch.zeros(2, 3, 3)})
    live.clear()
    assert list(tmp_path.iterdir()) == []


def test_the_trial_of_a_killed_run_is_swept(tmp_path: Path) -> None:
    (tmp_path / ".ddfm-partial-abcd").write_bytes(bytes(4096))
    with StagedFolder(tmp_path, marker="end") as staged:
        staged.path("end").touch()
    assert [path.name for path in tmp_path.iterdir()] == ["end"]


def test_no_path_at_all(pet, small, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a path"):
        fuse(pet.fixed, pet.moving, modality="PET", prior=small, output_dir=f"{tmp_path}/a\0b")


@pytest.mark.parametrize("read", [read_profile, read_landmarks, PairingRules.read])
def test_pipes_in_the_place_of_a_small_file(read, tmp_path: Path) -> None:
    """Whoever opens them waits for ever."""
    os.mkfifo(tmp_path / "a")
    for path in (tmp_path / "a", Path("/dev/zero")):
        with pytest.raises(InputError, match=f"{path} is no ordinary file"):
            read(**{"pairs" if read == PairingRules.read else "path": path})


def test_pipes_and_devices_in_a_series(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(b"a")
    expected = describe_input(tmp_path)
    os.mkfifo(tmp_path / "pipe.dcm")
    (tmp_path / "zero.dcm").symlink_to("/dev/zero")
    (tmp_path / "gone.dcm").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert describe_input(tmp_path) == expected


def test_pipes_in_the_place_of_a_study(tmp_path: Path) -> None:
    (tmp_path / "sub-01" / "pet").mkdir(parents=True)
    os.mkfifo(tmp_path / "dataset_description.json")
    os.mkfifo(tmp_path / "pairs.csv")
    with pytest.raises(InputError, match="no ordinary file"):
        find_cases(tmp_path, Selection(), labels={})
    with pytest.raises(InputError, match="no ordinary file"):
        find_cases(tmp_path / "pairs.csv", Selection(), labels={})
