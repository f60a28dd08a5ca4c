"""What counts as a source of a cohort: raw BIDS data, tables of every spreadsheet, no results."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import dicom_makers as make
import nibabel as nib
import numpy as np
import pytest
from cohort_makers import bids_path, bids_root, tiny
from run_cases import command, one_sentence
from situations_volumes import quaternion

pytest.importorskip("bids", reason="needs the extra cohort")

from monai_ddfm.apps.cohort.bids_ignore import ignores, read_rules
from monai_ddfm.apps.cohort.cases import Finding, Selection
from monai_ddfm.apps.cohort.finding import find_cases
from monai_ddfm.errors import InputError


def find(source: Path, *, outside: tuple[Path, ...] = (), **wanted: object) -> Finding:
    return find_cases(source, Selection(**wanted), labels={}, outside=outside)  # type: ignore[arg-type]


def pair(root: Path, *, mri: str = "", moving: str = "") -> Path:
    """One subject with a T1w and a PET, with further entities in their names."""
    tiny(bids_path(bids_root(root), "01", "T1w", extra=mri))
    tiny(bids_path(root, "01", "pet", extra=moving))
    return root


def files(found: Finding) -> list[str]:
    return [Path(name).name for case in found.cases for name in (*case.fixed, *case.moving)]


RAW = ["sub-01_T1w.nii.gz", "sub-01_pet.nii.gz"]


@pytest.mark.parametrize(
    "foreign", ["fmriprep", "derivatives_old", "derivatives", "out.old", "sourcedata", "my results"]
)
def test_folders_beside_the_subjects_hold_no_sources(foreign: str, tmp_path: Path) -> None:
    root = pair(tmp_path / "bids")
    for suffix in ("T1w", "pet"):
        copy = root / foreign / bids_path(root, "01", suffix).relative_to(root)
        copy.parent.mkdir(parents=True)
        shutil.copy(bids_path(root, "01", suffix), copy)
    found = find(root)
    assert files(found) == RAW
    assert found.problems == []


@pytest.mark.parametrize(
    "name", ["sub-01_space-MNI_T1w.nii.gz", "sub-01_desc-preproc_T1w.nii.gz", "sub-01_T1w_T1w.nii"]
)
def test_names_of_results_are_no_raw_data(name: str, tmp_path: Path) -> None:
    root = pair(tmp_path / "bids")
    tiny(root / "sub-01" / "anat" / name)
    found = find(root)
    assert files(found) == RAW
    assert any(name in note and "no raw data" in note for note in found.notes)


def test_a_data_set_of_other_names_says_so(tmp_path: Path) -> None:
    root = bids_root(tmp_path / "bids")
    for name in ("sub-01_T1w.nii.gz", "sub-01_pet.nii.gz"):
        tiny(root / "sub-01" / "scans" / name)
    with pytest.raises(InputError, match="2 images with names that are no raw data of BIDS"):
        find(root)


@pytest.mark.parametrize("part", ["phase", "real", "imag"])
def test_only_the_magnitude_is_a_source(part: str, tmp_path: Path) -> None:
    root = pair(tmp_path / "bids", mri="part-mag")
    tiny(bids_path(root, "01", "T1w", extra=f"part-{part}"))
    assert files(find(root))[0] == "sub-01_part-mag_T1w.nii.gz"


@pytest.mark.parametrize(
    ("rules", "left"),
    [
        ("sub-02/\n", ["01"]),
        ("# all of them\n*_pet.nii.gz\n", []),
        ("/sub-0[12]/**\n!/sub-02/**\n", ["02"]),
        ("**/pet/\n", []),
        ("sub-03/\n", ["01", "02"]),
    ],
)
def test_the_rules_of_the_data_set_hold(rules: str, left: list[str], tmp_path: Path) -> None:
    root = bids_root(tmp_path / "bids")
    for subject in ("01", "02"):
        tiny(bids_path(root, subject, "T1w"))
        tiny(bids_path(root, subject, "pet"))
    (root / ".bidsignore").write_text(rules)
    if not left:
        with pytest.raises(InputError, match="no pair"):
            find(root)
        return
    assert [case.subject for case in find(root).cases] == left


@pytest.mark.parametrize("rule", ["[z-a]", "a[\\]b"])
def test_rules_that_are_no_patterns_get_a_sentence(rule: str, tmp_path: Path) -> None:
    (tmp_path / ".bidsignore").write_text(f"{rule}\n")
    with pytest.raises(InputError, match="no pattern"):
        read_rules(tmp_path)


def test_a_header_that_reading_mends_is_measured(tmp_path: Path) -> None:
    root = bids_root(tmp_path / "bids")
    tiny(bids_path(root, "01", "pet"))
    path, _ = quaternion(0.7085, 0.7085, codes=(1, 0))(tmp_path)
    with pytest.raises(ValueError, match="w2 should be positive"):
        nib.load(path).get_qform()
    packed = bids_path(root, "01", "T1w")
    packed.parent.mkdir(parents=True, exist_ok=True)
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert [case.voxels > 0 for case in find(root).cases] == [True]


def test_rules_that_let_a_ct_pass_the_validator_do_not_hide_it(tmp_path: Path) -> None:
    root = bids_root(tmp_path / "bids")
    for subject in ("01", "02"):
        tiny(bids_path(root, subject, "T1w"))
        tiny(bids_path(root, subject, "ct"))
    (root / ".bidsignore").write_text("**/ct/\n*_ct.nii.gz\nsub-02/\n")
    assert [case.subject for case in find(root).cases] == ["01"]


@pytest.mark.parametrize(
    ("rule", "path", "fits"),
    [
        ("*.tsv", "sub-1/a.tsv", True),
        ("/*.tsv", "sub-1/a.tsv", False),
        ("extra/", "sub-1/extra/b.nii", True),
        ("extra", "extra", True),
        ("a/**/b", "a/x/y/b", True),
        ("a/**/b", "a/b", True),
        ("a?c", "abc", True),
        ("a?c", "a/c", False),
        ("[!a]*", "abc", False),
        ("a*b*c", "abbcbc", True),
        ("a*b*c", "a/bc", False),
        ("a*[bc]?d*", "xbcd", False),
        ("a*[bc]?d*", "abbbxd", True),
        ("**/**/a/**/b/", "x/a/y/b/c", True),
        ("**/a/**/b/", "x/a/y/b", False),
        ("a/**", "a", False),
        ("a/**", "a/b/c", True),
        ("/**", "a", True),
        ("a/*/c", "a/b/c/d", True),
        ("a/*/c", "a/b/b/c", False),
    ],
)
def test_rules_of_a_gitignore(rule: str, path: str, fits: bool, tmp_path: Path) -> None:
    (tmp_path / ".bidsignore").write_text(f"{rule}\n")
    assert ignores(read_rules(tmp_path), path) is fits


@pytest.mark.parametrize(
    ("wanted", "taken"),
    [
        (("run", "1"), "sub-01_run-01_T1w.nii.gz"),
        (("run", "02"), "sub-01_run-02_T1w.nii.gz"),
        (("run", "7"), "sub-01_T1w.nii.gz"),
    ],
)
def test_one_of_several_runs(wanted: tuple[str, str], taken: str, tmp_path: Path) -> None:
    root = pair(tmp_path / "bids")
    for run in ("run-01", "run-02"):
        tiny(bids_path(root, "01", "T1w", extra=run))
    (problem,) = find(root).problems
    assert "--entity" in problem.sentence
    assert files(find(root, entities=(wanted,)))[0] == taken


@pytest.mark.parametrize(("name", "labels"), [("rec", ("AC", "NAC")), ("ce", ("gd", "none"))])
def test_one_of_several_by_another_entity(
    name: str, labels: tuple[str, str], tmp_path: Path
) -> None:
    suffix = "pet" if name == "rec" else "T1w"
    root = bids_root(tmp_path / "bids")
    other = "T1w" if suffix == "pet" else "pet"
    tiny(bids_path(root, "01", other))
    for label in labels:
        tiny(bids_path(root, "01", suffix, extra=f"{name}-{label}"))
    chosen = files(find(root, entities=((name, labels[1]),)))
    assert f"sub-01_{name}-{labels[1]}_{suffix}.nii.gz" in chosen


def test_an_entity_that_is_none(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    root = pair(tmp_path / "bids")
    call = ("cohort", root, tmp_path / "out", "participant", "--dry-run", "--entity")
    status, _, err = command(capfd, *call, "nonsense-1")
    assert status == 2
    assert "--entity 'nonsense-1'" in one_sentence(err)
    assert command(capfd, *call, "run-1")[0] == 0


def test_results_in_the_data_set_are_no_sources(tmp_path: Path) -> None:
    root = pair(tmp_path / "bids")
    for folder in ("derivatives/ddfm", "out"):
        tiny(root / folder / "sub-01" / "pet" / "sub-01_space-T1w_pet.nii.gz")
        tiny(root / folder / "sub-01" / "pet" / "sub-01_pet.nii.gz")
    assert files(find(root, outside=(root / "out",))) == RAW


def test_results_in_a_tree_of_dicom_are_no_sources(tmp_path: Path) -> None:
    stored = np.random.default_rng(1).integers(1, 99, (4, 6, 7), dtype=np.int16)
    tree = tmp_path / "tree"
    make.series(tree / "mr", stored, SeriesInstanceUID="1.2.1", SeriesNumber=1)
    pet = {"modality": "PT", "SeriesInstanceUID": "1.2.2", "SeriesNumber": 2}
    make.series(tree / "pet", stored, **pet)
    again = pet | {"SeriesInstanceUID": "1.2.3", "SeriesNumber": 3}
    make.series(tree / "out" / "dicom", stored, **again)
    assert [problem.who for problem in find(tree).problems] == ["sub-0001"]
    assert len(find(tree, outside=(tree / "out",)).cases) == 1
    shutil.rmtree(tree / "out")
    make.series(tree / "old", stored, Manufacturer="monai_ddfm", **again)
    assert len(find(tree).cases) == 1


def test_a_study_with_a_series_for_every_slice(tmp_path: Path) -> None:
    stored = np.random.default_rng(1).integers(1, 99, (4, 6, 7), dtype=np.int16)

    def change(dataset: object, k: int) -> None:
        dataset.SeriesInstanceUID = f"1.2.1.{k}"

    make.series(tmp_path / "mr", stored, change=change, SeriesNumber=1)
    make.series(tmp_path / "pet", stored, modality="PT", SeriesInstanceUID="1.2.2")
    phase = ["ORIGINAL", "PRIMARY", "P", "ND"]
    make.series(tmp_path / "phase", stored, SeriesInstanceUID="1.2.3", ImageType=phase)
    (case,) = find(tmp_path).cases
    assert len(case.fixed) == 4
    assert all("phase" not in name for name in case.fixed)


# --- tables

HEADING = ("subject", "fixed", "moving", "modality")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_tables_of_every_spreadsheet(delimiter: str, encoding: str, tmp_path: Path) -> None:
    tiny(tmp_path / "Jürgen_T1w.nii.gz")
    tiny(tmp_path / "pet.nii.gz")
    lines = [HEADING, ("01", "Jürgen_T1w.nii.gz", "pet.nii.gz", "PET"), ("",) * 4]
    text = "\r\n".join(delimiter.join(line) for line in lines) + "\r\n"
    (tmp_path / "pairs.csv").write_bytes(text.encode(encoding))
    found = find(tmp_path / "pairs.csv")
    assert files(found) == ["Jürgen_T1w.nii.gz", "pet.nii.gz"]
    assert found.problems == []


def test_a_table_that_names_its_delimiter(tmp_path: Path) -> None:
    tiny(tmp_path / "a.nii.gz")
    lines = ["sep=;", ";".join((*HEADING, "")), "01;a.nii.gz;gone.nii.gz;PET;", "02;a.nii.gz;;PET;"]
    (tmp_path / "pairs.csv").write_text("\n".join(lines))
    found = find(tmp_path / "pairs.csv")
    told = {problem.who: problem.sentence for problem in found.problems}
    assert "gone.nii.gz does not exist" in told["sub-01"]
    assert "has no moving" in told["line 4"]


def test_a_table_in_an_encoding_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_bytes(",".join(HEADING).encode() + b"\n01,J\xfcrgen,b,PET\n")
    with pytest.raises(InputError, match="cannot be read as a CSV table"):
        find(tmp_path / "pairs.csv")
