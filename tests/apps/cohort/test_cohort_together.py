"""Subjects with several moving volumes, which are fused together where that is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
from cohort_makers import OPTIONS, bids_path, bids_root, save, tiny, volumes
from run_cases import command, one_sentence

pytest.importorskip("bids", reason="needs the extra cohort")

from monai_ddfm.apps.cohort.cases import Case, Finding, Selection
from monai_ddfm.apps.cohort.figures import figures_of
from monai_ddfm.apps.cohort.finding import find_cases
from monai_ddfm.apps.cohort.fingerprints import Settings, content_of
from monai_ddfm.apps.cohort.planning import lines_of, make_plan
from monai_ddfm.apps.cohort.records import is_complete
from monai_ddfm.apps.cohort.worker import Job, fuse_case
from monai_ddfm.modalities import Modality

BOTH = (Modality.PET, Modality.CT)


def find(source: Path, *modalities: Modality, tracer: str = "") -> Finding:
    return find_cases(source, Selection(modalities=modalities, tracer=tracer), labels={})


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four subjects: PET and CT; PET alone; both, in two sessions; two tracers and a CT."""
    root = bids_root(tmp_path_factory.mktemp("several"))
    for name in ("01", "02", "03", "04"):
        tiny(bids_path(root, name, "T1w"))
    for name in ("01", "02"):
        tiny(bids_path(root, name, "pet", extra="trc-FDG"))
    for name in ("01", "04"):
        tiny(bids_path(root, name, "ct"))
    tiny(bids_path(root, "03", "pet", session="a"))
    tiny(bids_path(root, "03", "ct", session="b"))
    for tracer in ("FDG", "PIB"):
        tiny(bids_path(root, "04", "pet", extra=f"trc-{tracer}"))
    return root


def test_several_modalities_are_fused_together(study: Path, tmp_path: Path) -> None:
    found = find(study, *BOTH)
    by_key = {case.key: case for case in found.cases}
    # Two tracers are not guessed at; the CT of that subject is fused without them.
    assert set(by_key) == {
        "sub-01_petct",
        "sub-02_trc-FDG_pet",
        "sub-03_ses-a_pet",
        "sub-03_ses-b_ct",
        "sub-04_ct",
    }
    together = by_key["sub-01_petct"]
    assert together.title == "PET + CT"
    assert {role: Path(files[0]).name for role, files in together.files.items()} == {
        "fixed": "sub-01_T1w.nii.gz",
        "moving_pet": "sub-01_trc-FDG_pet.nii.gz",
        "moving_ct": "sub-01_ct.nii.gz",
    }
    assert together.notes == ()
    assert by_key["sub-02_trc-FDG_pet"].notes == ("no CT",)
    assert [problem.who for problem in found.problems] == ["sub-04"]
    lines = list(lines_of(make_plan(found, Settings(OPTIONS), tmp_path), workers=1))
    assert any("sub-01_T1w.nii.gz + " in line and "_ct.nii.gz: new" in line for line in lines)


def test_the_order_is_that_of_the_command_and_a_tracer_leaves_the_ct(study: Path) -> None:
    found = find(study, Modality.CT, Modality.PET, tracer="PIB")
    (case,) = [case for case in found.cases if case.further]
    assert (case.key, case.title) == ("sub-04_ctpet", "CT + PET")
    assert case.further[0].files[0].endswith("trc-PIB_pet.nii.gz")


def test_without_the_wish_every_volume_has_its_own_fusion(study: Path) -> None:
    everything = find(study)
    one = [*find(study, Modality.PET).cases, *find(study, Modality.CT).cases]
    assert sorted(case.key for case in one) == [case.key for case in everything.cases]
    assert not any(case.further for case in everything.cases)


def test_rows_of_a_table_are_fused_together(study: Path, tmp_path: Path) -> None:
    rows = ["subject,fixed,moving,modality,session,tracer"]
    mri, ct = bids_path(study, "04", "T1w"), bids_path(study, "04", "ct")
    pets = [bids_path(study, "04", "pet", extra=f"trc-{name}") for name in ("FDG", "PIB")]
    rows += [f"04,{mri},{pets[0]},PET,a,FDG", f"04,{mri},{ct},CT,a,"]
    rows += [f"04,{mri},{pets[number]},PET,b,{name}" for number, name in enumerate(("FDG", "PIB"))]
    table = tmp_path / "several.csv"
    table.write_text("\n".join(rows))
    assert len(find(table).cases) == 4
    found = find(table, *BOTH)
    assert [case.key for case in found.cases] == ["sub-04_ses-a_petct"]
    (problem,) = found.problems
    assert problem.sentence == "has 2 PET volumes; choose with --tracer"


def test_a_fusion_of_three_leaves_all_files(prior: Path, tmp_path: Path) -> None:
    root = bids_root(tmp_path / "bids")
    mri, pet = volumes(1)
    save(bids_path(root, "01", "T1w"), mri)
    save(bids_path(root, "01", "pet"), pet)
    save(bids_path(root, "01", "ct"), volumes(1, "CT")[1])
    (case,) = find(root, *BOTH).cases
    out, work = tmp_path / "out", tmp_path / "work"
    out.mkdir()
    work.mkdir()
    settings = Settings({**OPTIONS, "format": "nifti", "samples": 2}, prior, "cpu", "p")
    record = fuse_case(Job(case, settings, out, work, root))
    assert record.status == "done", record.reason
    assert (record.key, record.modality) == ("sub-01_petct", "PET + CT")
    assert is_complete(out, record)
    names = {Path(name).name for name in record.outputs}
    assert names >= {
        "sub-01_space-T1w_desc-fused_petct.nii.gz",
        "sub-01_space-T1w_desc-weight_pet.nii.gz",
        "sub-01_space-T1w_desc-weight_ct.nii.gz",
        "sub-01_space-T1w_desc-stability_pet.nii.gz",
        "sub-01_space-T1w_desc-stability_ct.nii.gz",
        "sub-01_space-T1w_desc-fusedlow_petct.nii.gz",
        "sub-01_space-T1w_desc-report_petct.html",
    }
    assert record.content == content_of(case, settings)
    assert record.content != content_of(Case("01", BOTH[0], case.fixed, case.moving), settings)


def test_the_worst_registration_of_several_is_the_one_of_the_table() -> None:
    reports = {
        "moving_pet": {"status": "warn", "dependence": 0.2},
        "moving_ct": {"status": "ok", "dependence": 0.4},
    }
    found = figures_of({"reports": {"registration": reports}})
    assert found["registration_status"] == "warn"
    assert found["registration_dependence"] == 0.2
    assert found["registration_moving_ct_dependence"] == 0.4
    alone = figures_of({"reports": {"registration": {"moving": reports["moving_ct"]}}})
    assert alone == {"registration_status": "ok", "registration_dependence": 0.4}


@pytest.mark.parametrize(
    ("more", "word"),
    [
        (["--modality", "CT"], "--modality CT is given twice"),
        (["--modality", "PET", "--smooth-across", 1], "leave --smooth-across out"),
    ],
)
def test_what_does_not_go_with_several_ends_with_one_sentence(
    study: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    more: list[object],
    word: str,
) -> None:
    out = tmp_path / "out"
    asked = ("--modality", "CT", *more, "--dry-run")
    status, _, err = command(capfd, "cohort", study, out, "participant", *asked)
    assert status == 2
    assert word in one_sentence(err)
    assert not out.exists()
