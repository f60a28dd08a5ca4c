"""What a cohort is found to consist of, and what is said about it before anything is computed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
from cohort_makers import bids_path, bids_root, tiny, volumes

from monai_ddfm.apps.cohort.cases import Case, Finding, Selection
from monai_ddfm.apps.cohort.confidential import LABELS_FILE, keep_labels, kept_labels
from monai_ddfm.apps.cohort.finding import find_cases
from monai_ddfm.apps.cohort.fingerprints import Settings
from monai_ddfm.apps.cohort.planning import lines_of, make_plan
from monai_ddfm.apps.demo.dicom import write_series
from monai_ddfm.errors import InputError
from monai_ddfm.modalities import Modality

pytest.importorskip("bids", reason="needs the extra cohort")


def find(source: Path, labels: dict[str, str] | None = None, **wanted: object) -> Finding:
    return find_cases(source, Selection(**wanted), labels=labels or {})  # type: ignore[arg-type]


def keys(finding: Finding) -> list[str]:
    return [case.key for case in finding.cases]


def sentences(finding: Finding) -> dict[str, str]:
    return {problem.who: problem.sentence for problem in finding.problems}


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set with everything that can be right and wrong."""
    root = bids_root(tmp_path_factory.mktemp("bids"))
    for name in ("01", "02", "03", "04", "05", "06"):
        tiny(bids_path(root, name, "T1w"))
    tiny(bids_path(root, "01", "pet"))
    tiny(bids_path(root, "02", "pet", extra="trc-FDG"))
    tiny(bids_path(root, "02", "pet", extra="trc-PIB"))
    tiny(bids_path(root, "03", "ct"))
    tiny(bids_path(root, "03", "FLAIR"))
    bids_path(root, "04", "pet").parent.mkdir()
    bids_path(root, "04", "pet").write_bytes(b"no image")
    tiny(bids_path(root, "06", "T1w", extra="run-2"))
    tiny(bids_path(root, "06", "spect"))
    tiny(bids_path(root, "07", "pet"))
    tiny(bids_path(root, "08", "T2w", session="a"))
    tiny(bids_path(root, "08", "pet", session="b"))
    return root


def test_bids_pairs_are_found_and_everything_else_is_explained(mixed: Path) -> None:
    found = find(mixed)
    assert keys(found) == ["sub-01_pet", "sub-03_ct", "sub-08_ses-b_pet"]
    by_key = {case.key: case for case in found.cases}
    assert by_key["sub-03_ct"].space == "T1w"
    assert by_key["sub-03_ct"].modality is Modality.CT
    assert by_key["sub-08_ses-b_pet"].notes == ("the MRI is of ses-a",)
    assert by_key["sub-08_ses-b_pet"].space == "T2w"
    assert by_key["sub-01_pet"].voxels == 64
    said = sentences(found)
    assert said.keys() == {"sub-02", "sub-04", "sub-06", "sub-07"}
    assert "has 2 PET volumes" in said["sub-02"]
    assert "--tracer" in said["sub-02"]
    assert "no readable header" in said["sub-04"]
    assert "has 2 MRIs" in said["sub-06"]
    assert "no MRI" in said["sub-07"]
    assert "modalities are mixed (1 CT, 2 PET); --modality chooses one" in found.notes
    assert any("sub-05 has no CT, PET or SPECT" in note for note in found.notes)


def test_selection_narrows_what_is_found(mixed: Path) -> None:
    assert keys(find(mixed, tracer="PIB")) == ["sub-02_trc-PIB_pet"]
    assert keys(find(mixed, modalities=(Modality.CT,))) == ["sub-03_ct"]
    assert keys(find(mixed, participants=("01",))) == ["sub-01_pet"]
    assert keys(find(mixed, sessions=("b",))) == ["sub-08_ses-b_pet"]
    assert find(mixed, participants=("03",), mri=("FLAIR", "T1w")).cases[0].space == "FLAIR"
    with pytest.raises(InputError, match="no images of sub-99"):
        find(mixed, participants=("99",))


def test_table_of_pairs(tmp_path: Path) -> None:
    tiny(tmp_path / "a_T2w.nii.gz")
    tiny(tmp_path / "pet.nii.gz")
    table = tmp_path / "pairs.csv"
    table.write_text(
        "Subject,fixed,moving,modality,session\n"
        "sub-1,a_T2w.nii.gz,pet.nii.gz,PT,\n"
        "2,a_T2w.nii.gz,pet.nii.gz,pet,x\n"
        "2,a_T2w.nii.gz,pet.nii.gz,PET,ses-x\n"
        "3,a_T2w.nii.gz,gone.nii.gz,PET,\n"
        "4,a_T2w.nii.gz,pet.nii.gz,XA,\n"
        "a b,a_T2w.nii.gz,pet.nii.gz,CT,\n"
        "6,,pet.nii.gz,CT,\n"
    )
    found = find(table)
    assert keys(found) == ["sub-1_pet"]
    assert found.cases[0].space == "T2w"
    said = sentences(found)
    assert "listed 2 times with a PET (lines 3, 4)" in said["sub-2_ses-x"]
    assert "gone.nii.gz does not exist" in said["sub-3"]
    assert "'XA'" in said["line 6"]
    assert "letters and digits" in said["line 7"]
    assert said["line 8"].startswith("has no fixed")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("subject,fixed,moving\n", "no column 'modality'"),
        ("subject,fixed,moving,modality,age\n", "unknown column 'age'"),
        ("subject,fixed,moving,modality\n", "holds no pair"),
        ("", "no column 'subject'"),
    ],
)
def test_table_that_is_none(tmp_path: Path, text: str, said: str) -> None:
    table = tmp_path / "pairs.csv"
    table.write_text(text)
    with pytest.raises(InputError, match=said):
        find(table)


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """DICOM files of three patients, all in one folder under meaningless names."""
    base = tmp_path_factory.mktemp("dicom")
    root = base / "tree" / "DOE^JANE"
    root.mkdir(parents=True)
    for patient, modalities in (("P-B", ("MR", "PET")), ("P-A", ("MR", "CT")), ("P-C", ("PET",))):
        for modality in modalities:
            seed = ord(patient[-1])
            volume = volumes(1, "PET" if modality == "MR" else modality)[modality != "MR"]
            folder = base / f"{patient}-{modality}"
            write_series(volume, folder, modality=modality, seed=seed, scale=4)
            for number, file in enumerate(sorted(folder.iterdir())):
                dataset = pydicom.dcmread(file)
                dataset.PatientID, dataset.PatientName = patient, "Doe^Jane"
                dataset.save_as(root / f"{patient}{modality}{number}")
    (root / "readme.txt").write_text("no image")
    return root.parent


def test_dicom_is_grouped_by_headers(studies: Path) -> None:
    found = find(studies)
    assert found.labels == {"P-A": "0001", "P-B": "0002", "P-C": "0003"}
    assert keys(found) == ["sub-0001_ct", "sub-0002_pet"]
    pet = found.cases[1]
    assert all("P-BMR" in name for name in pet.fixed)
    assert all("P-BPET" in name for name in pet.moving)
    assert len(pet.fixed) == volumes(1)[0].data.shape[2]
    assert pet.voxels == volumes(1)[0].data.size
    assert "no MRI" in sentences(found)["sub-0003"]
    told = "\n".join(lines_of(make_plan(found, Settings({}), studies / "none"), workers=1))
    told = told.replace(str(studies), "")
    assert "P-" not in told
    assert "Doe" not in told.title()


def test_dicom_labels_stay_when_patients_join(studies: Path, tmp_path: Path) -> None:
    keep_labels(tmp_path, {"P-B": "0001"})
    assert (tmp_path / LABELS_FILE).stat().st_mode & 0o077 == 0
    found = find(studies, labels=kept_labels(tmp_path))
    assert found.labels == {"P-B": "0001", "P-A": "0002", "P-C": "0003"}


def test_dicom_of_several_series_asks_for_one(studies: Path, tmp_path: Path) -> None:
    shutil.copytree(studies, tmp_path / "tree")
    for file in sorted((tmp_path / "tree").rglob("P-BPET*")):
        dataset = pydicom.dcmread(file)
        dataset.SeriesInstanceUID += ".1"
        dataset.SeriesNumber = 77
        dataset.save_as(file.with_name(file.name + "again"))
    found = find(tmp_path / "tree", participants=("0002",))
    assert "has 2 PET volumes" in sentences(found)["sub-0002"]
    assert "--moving-series" in sentences(found)["sub-0002"]
    assert keys(find(tmp_path / "tree", participants=("0002",), moving_series="77"))


def test_input_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        find(tmp_path / "gone")
    with pytest.raises(InputError, match="is empty"):
        find(tmp_path)
    (tmp_path / "readme.txt").write_text("hello")
    with pytest.raises(InputError, match="holds nothing to fuse"):
        find(tmp_path)
    with pytest.raises(InputError, match="no CSV table"):
        find(tmp_path / "readme.txt")
    with pytest.raises(InputError, match="without subjects"):
        find(bids_root(tmp_path / "empty"))
    tiny(bids_path(bids_root(tmp_path / "mri"), "1", "T1w"))
    with pytest.raises(InputError, match="no pair"):
        find(tmp_path / "mri")


@pytest.fixture
def as_somebody() -> Iterator[Path]:
    """A folder, while this process may not read everything."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    root = os.geteuid() == 0
    yield folder
    if root:
        os.seteuid(0)
    shutil.rmtree(folder)


def test_folder_that_may_not_be_read(as_somebody: Path) -> None:
    tiny(bids_path(bids_root(as_somebody / "in"), "1", "T1w"))
    closed = as_somebody / "in" / "sub-1"
    closed.chmod(0)
    if os.geteuid() == 0:
        os.seteuid(65534)
    with pytest.raises(InputError, match="correct its permissions"):
        find_cases(as_somebody / "in", Selection(), labels={})
    if os.getuid() == 0:
        os.seteuid(0)
    closed.chmod(0o755)


def test_times_are_estimated_from_sizes(tmp_path: Path) -> None:
    file = str(tiny(tmp_path / "x.nii.gz"))

    def seconds(voxels: int, **options: object) -> float:
        case = Case("1", Modality.PET, (file,), (file,), voxels=voxels)
        finding = Finding("CSV", tmp_path, [case])
        estimate = make_plan(finding, Settings(options), tmp_path / "out").seconds
        assert estimate is not None
        return estimate

    assert seconds(2_500_000) == pytest.approx(11.5, abs=1)
    assert seconds(2_500_000, steps=32) == pytest.approx(213, abs=1)
    assert seconds(2_500_000, steps=32, preset="contrast") == pytest.approx(109, abs=1)
    assert seconds(0 + 1) < 6


@pytest.mark.slow
def test_ten_thousand_subjects_are_planned_in_a_minute(tmp_path: Path) -> None:
    """As a user waits for it, on a machine that is not busy; and the largest memory."""
    root = bids_root(tmp_path / "bids")
    one = tiny(tmp_path / "one.nii.gz")
    for number in range(10_000):
        for suffix in ("T1w", "pet"):
            path = bids_path(root, f"{number:05d}", suffix)
            path.parent.mkdir(parents=True)
            path.hardlink_to(one)
            path.with_name(f"{path.name.partition('.')[0]}.json").write_text("{}")
    call = [sys.executable, "-m", "monai_ddfm", "cohort", root, tmp_path / "out", "participant"]
    begin = time.monotonic()
    process = subprocess.Popen([*map(str, call), "--dry-run"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    lines = process.stdout.read().splitlines()
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.monotonic() - begin
    assert status == 0
    assert sum(line.startswith("  sub-") for line in lines) == 10_000
    assert "10000 new; 0 with a problem" in lines
    processor, megabytes = used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / 1e6
    print(f"{seconds:.1f} s, {processor:.1f} s of processor time, {megabytes:.0f} MB")
    assert seconds < 60
    assert megabytes < 1000
