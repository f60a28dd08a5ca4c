"""An MRI with several moving volumes, from files to files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from dicom_fusions import errors_of
from run_cases import demo_subject

from monai_ddfm.apps.benchmark import evaluate
from monai_ddfm.apps.demo import DemoSubject
from monai_ddfm.errors import InputError
from monai_ddfm.visualize.legend import legend_of
from monai_ddfm.visualize.report.page import colors_png
from monai_ddfm.workflow import FusionResult, fuse
from monai_ddfm.workflow.glance import glance


@pytest.fixture(scope="module")
def subjects(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., DemoSubject]:
    base = tmp_path_factory.getbasetemp()
    return lambda *args, **options: demo_subject(base, *args, **options)


@pytest.fixture(scope="module")
def fuse_three(
    subjects: Callable[..., DemoSubject], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., FusionResult]:
    """Fuses an MRI with PET and CT; takes further options."""

    def run(name: str, **options: Any) -> FusionResult:
        pet, ct = subjects("PET"), subjects("CT")
        folder = tmp_path_factory.mktemp(name)
        (folder / "bids").mkdir()
        return fuse(
            pet.fixed,
            [pet.moving, ct.moving],
            modality=["PET", "CT"],
            output_dir=folder / "out",
            steps=2,
            registration="none",
            device="cpu",
            noise_margin=0,
            bids={"root": folder / "bids", "subject": "01"},  # type: ignore[typeddict-item]
            **options,
        )

    return run


@pytest.fixture(scope="module")
def three(fuse_three: Callable[..., FusionResult]) -> FusionResult:
    return fuse_three("three")


@pytest.fixture(scope="module")
def sampled(fuse_three: Callable[..., FusionResult]) -> FusionResult:
    """The same with two samples."""
    return fuse_three("sampled", samples=2)


def values(result: FusionResult, name: str) -> np.ndarray:
    return np.asarray(nib.load(result.files[name]).dataobj)


def test_each_moving_volume_has_its_files(three: FusionResult) -> None:
    each = {
        f"{stem}_{name}{ending}"
        for name in ("pet", "ct")
        for stem, ending in (
            ("weight", ".nii.gz"),
            ("moving_registered", ".nii.gz"),
            ("transform", ".tfm"),
        )
    }
    shared = {"fused.nii.gz", "fused_rgb.nii.gz", "preview.png", "report.html", "provenance.json"}
    assert set(three.files) == each | shared
    assert {path.name for path in three.output_dir.iterdir()} == set(three.files)


def test_the_weights_leave_a_share_to_the_mri(three: FusionResult) -> None:
    weights = [values(three, f"weight_{name}.nii.gz") for name in ("pet", "ct")]
    for weight in weights:
        assert 0 <= weight.min() <= weight.max() <= 1
    rest = 1 - sum(weights)
    assert -1e-5 < rest.min() <= rest.max() < 1
    assert weights[1][values(three, "moving_registered_ct.nii.gz") > 700].mean() > 0.5


def test_each_is_judged_by_itself_and_warned_of_by_name(three: FusionResult) -> None:
    reports = three.provenance["reports"]
    assert list(reports["registration"]) == ["moving_pet", "moving_ct"]
    assert list(three.provenance["inputs"]) == ["fixed", "moving_pet", "moving_ct"]
    assert {"fixed", "moving_pet", "moving_ct"} <= set(reports["noise"]["fused"])
    for name in ("pet", "ct"):
        assert any(w.startswith(f"registration of {name}: ") for w in three.provenance["warnings"])
    assert three.provenance["bound"]["largest"] <= three.provenance["bound"]["tolerance"]
    (color,) = reports["color"].values()
    assert color["color_tables"] == {"pet": "inferno"}
    assert color["white"] == ["ct"]


def test_the_report_has_all_volumes(three: FusionResult) -> None:
    page = three.files["report.html"].read_text(encoding="utf-8")
    for title in ("PET (registered)", "CT (registered)", "Weight of PET", "Weight of CT"):
        assert title in page
    assert "pet: verdict" in page
    assert "ct: verdict" in page
    # One tracer among them: outside bone its colors stand for two values, as without a CT.
    (color,) = three.provenance["reports"]["color"].values()
    legend = legend_of(color)
    assert legend is not None
    assert colors_png(legend.colors) in page


def test_the_bids_derivative_has_each_under_its_modality(three: FusionResult) -> None:
    root = three.output_dir.parent / "bids"
    names = {str(path.relative_to(root)) for path in root.rglob("*.nii.gz")}
    assert names == {
        "sub-01/pet/sub-01_space-T1w_desc-registered_pet.nii.gz",
        "sub-01/pet/sub-01_space-T1w_desc-weight_pet.nii.gz",
        "sub-01/ct/sub-01_space-T1w_desc-registered_ct.nii.gz",
        "sub-01/ct/sub-01_space-T1w_desc-weight_ct.nii.gz",
        "sub-01/petct/sub-01_space-T1w_desc-fused_petct.nii.gz",
        "sub-01/petct/sub-01_space-T1w_desc-fusedrgb_petct.nii.gz",
    }
    units = {
        name: json.loads(
            (root / f"sub-01/{name}/sub-01_space-T1w_desc-registered_{name}.json").read_text()
        )["Units"]
        for name in ("pet", "ct")
    }
    assert units["ct"] == "HU"
    assert (root / ".bidsignore").read_text().splitlines() == ["**/ct/", "**/spect/", "**/petct/"]


def test_samples_of_several_leave_the_fusion_as_it_is(
    three: FusionResult, sampled: FusionResult
) -> None:
    shared = ("fused.nii.gz", "fused_rgb.nii.gz")
    each = [f"{stem}_{n}.nii.gz" for n in ("pet", "ct") for stem in ("weight", "moving_registered")]
    for name in (*shared, *each):
        assert sampled.files[name].read_bytes() == three.files[name].read_bytes(), name
    assert set(sampled.files) - set(three.files) == {
        "fused_std.nii.gz",
        "fused_low.nii.gz",
        "fused_high.nii.gz",
        "weight_stability_pet.nii.gz",
        "weight_stability_ct.nii.gz",
    }
    assert sampled.provenance["bound"] == three.provenance["bound"]


def test_samples_of_several_tell_an_interval_and_a_stability_for_each(
    sampled: FusionResult,
) -> None:
    fused, deviation, low, high = (
        values(sampled, f"{name}.nii.gz")
        for name in ("fused", "fused_std", "fused_low", "fused_high")
    )
    assert 1e-4 < deviation.max() < 0.5
    assert (low <= fused + 1e-6).all()
    assert (fused <= high + 1e-6).all()
    pet, ct = (values(sampled, f"weight_stability_{name}.nii.gz") for name in ("pet", "ct"))
    for stability in (pet, ct):
        assert 0 <= stability.min() < stability.max() <= 1
    assert np.abs(pet - ct).max() > 0.1
    about = nib.load(sampled.files["weight_stability_ct.nii.gz"]).header["descrip"].item().decode()
    assert about.startswith("agreement on the weight of CT;")
    drawn = sampled.provenance["reports"]["samples"]
    assert list(drawn) == ["moving_pet", "moving_ct"]
    strengths = [one["noise"]["moving"]["at_white"] for one in drawn.values()]
    assert strengths[0] != strengths[1]
    assert 1 < strengths[1] < 100  # HU; in so coarse a PET no noise is to be seen
    assert {one["registration"] for one in drawn.values()} == {
        "not drawn: the volumes are said to be aligned"
    }


@pytest.mark.slow
def test_the_registration_of_each_is_drawn_by_its_own_uncertainty(
    subjects: Callable[..., DemoSubject], prior: Path, tmp_path: Path
) -> None:
    pet, ct = subjects("PET"), subjects("CT")
    reports = fuse(
        pet.fixed,
        [pet.moving, ct.moving],
        modality=["PET", "CT"],
        output_dir=tmp_path / "out",
        prior=prior,
        samples=2,
        steps=1,
        device="cpu",
    ).provenance["reports"]
    far = {}
    for key, drawn in reports["samples"].items():
        assert drawn["registration"] == "drawn"
        far[key] = drawn["registration_mm"]
        assert far[key] == reports["registration"][key]["uncertainty"]["mm"]
    assert 0.1 < far["moving_ct"] < far["moving_pet"] < 3


def test_the_bids_derivative_has_the_stability_of_each(sampled: FusionResult) -> None:
    root = sampled.output_dir.parent / "bids" / "sub-01"
    for name in ("pet", "ct"):
        path = root / f"{name}/sub-01_space-T1w_desc-stability_{name}.json"
        about = json.loads(path.read_text())["Description"]
        assert about.startswith(f"agreement of the samples on the weight of {name.upper()};")
    assert (root / "petct/sub-01_space-T1w_desc-fusedstd_petct.nii.gz").is_file()


def test_evaluate_measures_the_mri_with_each(three: FusionResult) -> None:
    figures = evaluate(three.output_dir, metrics=("CC",))
    assert set(figures) == {"pet CC", "ct CC", "pet flicker", "ct flicker"}
    assert all(0 < figures[f"{name} CC"] <= 1 for name in ("pet", "ct"))


def test_files_of_volumes_that_a_later_run_does_not_have_go(
    sampled: FusionResult, subjects: Callable[..., DemoSubject], prior: Path, tmp_path: Path
) -> None:
    pet = subjects("PET")
    shutil.copytree(sampled.output_dir, tmp_path / "out")
    (tmp_path / "out" / "weight_mine.nii.gz").write_bytes(b"of somebody else")
    fuse(
        pet.fixed,
        pet.moving,
        modality="PET",
        output_dir=tmp_path / "out",
        prior=prior,
        steps=1,
        registration="none",
        device="cpu",
    )
    left = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"weight.nii.gz", "moving_registered.nii.gz", "weight_mine.nii.gz"} <= left
    gone = {"weight_pet.nii.gz", "transform_ct.tfm", "weight_stability_ct.nii.gz"}
    assert not (gone | {"fused_std.nii.gz"}) & left


def test_the_third_volume_that_does_not_overlap_is_named(
    subjects: Callable[..., DemoSubject], tmp_path: Path
) -> None:
    pet, ct = subjects("PET"), subjects("CT")
    far = nib.load(ct.moving)
    affine = far.affine.copy()
    affine[:3, 3] += 2000
    nib.save(nib.Nifti1Image(np.asarray(far.dataobj), affine), tmp_path / "far.nii.gz")
    with pytest.raises(InputError, match=r"fields of view of .*far\.nii\.gz and .*t1\.nii\.gz do"):
        fuse(
            pet.fixed,
            [pet.moving, tmp_path / "far.nii.gz"],
            modality=["PET", "CT"],
            output_dir=tmp_path / "out",
            registration="none",
            device="cpu",
        )
    assert not (tmp_path / "out").exists()


def test_the_same_volume_twice_is_refused_at_a_glance(
    subjects: Callable[..., DemoSubject], tmp_path: Path
) -> None:
    pet = subjects("PET")
    with pytest.raises(InputError, match="is given twice"):
        glance(
            pet.fixed,
            [pet.moving, pet.moving],
            modality=["PET", "PET"],
            output_dir=tmp_path / "out",
            options={"name": ["a", "b"]},
        )


@pytest.mark.slow
def test_dicom_of_several_is_valid(subjects: Callable[..., DemoSubject], tmp_path: Path) -> None:
    pet, ct = subjects("PET", dicom=True), subjects("CT", dicom=True)
    assert pet.fixed_dicom
    assert pet.moving_dicom
    assert ct.moving_dicom
    result = fuse(
        pet.fixed_dicom,
        [pet.moving_dicom, ct.moving_dicom],
        modality=["PET", "CT"],
        output_dir=tmp_path / "out",
        format="dicom",
        registration="none",
        device="cpu",
    )
    folder = result.output_dir / "dicom"
    series = json.loads((folder / "index.json").read_text())["series"]
    for role in ("moving_registered", "weight", "registration"):
        assert {f"{role}_pet", f"{role}_ct"} <= set(series)
    assert len({one["number"] for one in series.values()}) == len(series)
    assert errors_of(sorted(folder.rglob("*.dcm"))) == {}
