"""The benchmark of registration: perturbations keep the truth, tables count, weights are honest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from moved_heads import head, points_of, rigid, turned_by
from run_cases import command

from monai_ddfm.apps.benchmark import benchmark_alignment
from monai_ddfm.apps.benchmark.alignment import (
    BODY_KINDS,
    KINDS,
    AlignmentResult,
    KnownPair,
    Perturbed,
    perturb,
)
from monai_ddfm.apps.benchmark.alignment.calibration import fit, held_out, reliability
from monai_ddfm.apps.benchmark.alignment.tables import verdict_of
from monai_ddfm.apps.benchmark.alignment.trying import try_one
from monai_ddfm.data.transform_files import transform_matrix
from monai_ddfm.errors import InputError
from monai_ddfm.transforms.registration_evidence import nearest_rigid
from monai_ddfm.transforms.registration_optimizer import linear
from monai_ddfm.transforms.registration_risk import FEATURES, failure_probability, features
from monai_ddfm.transforms.registration_verdict import judge

# --- perturbations


@pytest.fixture(scope="module")
def pair() -> KnownPair:
    fixed = head("MR", spacing=12.0, shape=(20, 20, 16))
    moving = head("CT", spacing=9.0, shape=(24, 26, 20), to_head=rigid().GetInverse(), noise=0.0)
    return KnownPair("one CT", "one", "CT", fixed, moving, transform_matrix(rigid()))


def value_at(volume: MetaTensor, points: np.ndarray) -> np.ndarray:
    """Values at places in LPS mm, nan beyond the field of view."""
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine.numpy()
    index = np.linalg.solve(lps, np.c_[points, np.ones(len(points))].T)[:3].T
    image = sitk.GetImageFromArray(volume[0].numpy().transpose(2, 1, 0))
    inside = ((index >= 0) & (index <= np.array(volume.shape[1:]) - 1)).all(axis=1)
    found = np.full(len(points), np.nan)
    for i in np.flatnonzero(inside):
        found[i] = image.EvaluateAtContinuousIndex(index[i].tolist(), sitk.sitkLinear)
    return found


@pytest.mark.parametrize("kind", sorted({*KINDS, *BODY_KINDS} - {"other head"}))
def test_the_truth_moves_with_the_volume(pair, kind):
    places = points_of(pair.fixed.affine.numpy(), tuple(pair.fixed.shape[1:])).reshape(-1, 3)
    places = places[:: 7 if "slab" in kind else 17]
    there = places @ pair.truth[:3, :3].T + pair.truth[:3, 3]
    for seed in range(3):
        case = perturb(pair, kind, seed=seed, others=[])
        moved = places @ case.truth[:3, :3].T + case.truth[:3, 3]
        before, after = value_at(pair.moving, there), value_at(case.moving, moved)
        both = np.isfinite(before) & np.isfinite(after)
        assert both.sum() > 20
        if "slab" in kind:  # thick slices of these 9 mm are slices of 9 mm
            assert 12 <= case.moving.shape[3] <= 16
        assert np.allclose(before[both], after[both], atol=0.5)


def test_what_is_refused_before_a_search_is_a_refused_row(pair):
    away = np.eye(4)
    away[0, 3] = 3000.0
    moving = turned_by(pair.moving, linear(away))
    tried = try_one(Perturbed("one CT", "one", "CT", "far", 0, pair.fixed, moving, away))
    assert "do not overlap" in tried["report"]["reasons"][0]
    assert verdict_of(tried) == "refused"


def test_perturbations_are_those_of_their_seed(pair):
    one, same, other = (perturb(pair, "far", seed=s, others=[]).truth for s in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.allclose(one, other)


def test_another_head_has_no_truth(pair):
    case = perturb(pair, "other head", seed=0, others=[pair])
    assert case.truth is None


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_nearest_rigid_motion_is_the_motion_itself_or_the_nearest(seed):
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(30, 3)) * 50
    angles, shift = rng.uniform(-180, 180, 3), rng.normal(size=3) * 30
    motion = transform_matrix(sitk.Euler3DTransform((0, 0, 0), *np.radians(angles), shift))
    places = points @ motion[:3, :3].T + motion[:3, 3]
    assert np.allclose(nearest_rigid(points, places), motion, atol=1e-6)
    noisy = places + rng.normal(size=places.shape)
    found = nearest_rigid(points, noisy)
    assert np.linalg.det(found[:3, :3]) == pytest.approx(1.0)
    residual = [np.square(points @ m[:3, :3].T + m[:3, 3] - noisy).sum() for m in (found, motion)]
    assert residual[0] <= residual[1] + 1e-6


# --- tables


def row(error: float | None, status: str, **more: Any) -> dict[str, Any]:
    return {
        "pair": "one CT",
        "head": "one",
        "modality": "CT",
        "kind": "rigid",
        "error_mm": error,
        "rigid_error_mm": error,
        "warning_is_called_for": False,
        "seconds": 1.0,
        "report": {"status": status},
    } | more


@pytest.mark.parametrize(
    ("given_row", "verdict"),
    [
        (row(1.0, "ok"), "right"),
        (row(1.0, "warn"), "right"),
        (row(1.0, "refuse"), "refused"),
        (row(5.1, "ok"), "silent"),
        (row(5.1, "warn"), "wrong, told"),
        (row(99.0, "refuse"), "refused"),
        (row(8.0, "warn", rigid_error_mm=2.0), "right"),  # a stretch that was told
        (row(8.0, "ok", rigid_error_mm=2.0), "silent"),
        (row(None, "ok"), "not told"),
        (row(None, "warn"), "told"),
    ],
)
def test_what_became_of_a_case(given_row, verdict):
    assert verdict_of(given_row) == verdict


def test_the_totals_count():
    rows = [
        row(1.0, "ok"),
        row(1.0, "warn"),
        row(1.0, "warn", warning_is_called_for=True),
        row(9.0, "refuse"),
        row(9.0, "ok"),
        row(None, "warn"),
        row(None, "ok"),
    ]
    found = AlignmentResult(rows=rows).summary
    assert (found["cases"], found["right_or_refused"], found["silently_wrong"]) == (5, 4, 1)
    assert (found["right_without_cause_for_warning"], found["false_alarms"]) == (2, 1)
    assert (found["other_heads"], found["other_heads_told"]) == (2, 1)
    assert "silently wrong 1, false alarms 1 of 2" in AlignmentResult(rows=rows).text


# --- the probability of failure


GOOD: dict[str, Any] = {
    "dependence": 0.3,
    "agreement": 1.0,
    "rival_score": 0.45,
    "rival_dependence": 0.12,
    "rival_turn_deg": 175.0,
    "sharpness": 0.45,
    "wanted_stretch": (1.01, 0.99),
    "affine_gain": 0.0,
    "head_covered": 1.0,
    "fov_overlap": 0.8,
    "head_overlap": 0.9,
    "stretch": (1.0, 1.0),
    "rotation_deg": 8.0,
    "displacement_mm": 20.0,
    "volume_change": None,
    "outline_offset_mm": -4.5,
    "outline_spread_mm": 1.0,
}


def judged(figures: dict[str, Any]) -> tuple[list[str], list[str]]:
    risk = {"failure_probability": failure_probability(figures)}
    return judge(figures | risk, same_frame=False)


def test_good_figures_are_ok_and_many_that_are_a_little_poor_are_not():
    assert judged(GOOD) == ([], [])
    poor = {  # a thick slab whose pixel size was wrong; each figure within its own limit
        "dependence": 0.129,
        "agreement": 0.43,
        "rival_score": 0.85,
        "sharpness": 0.15,
        "rotation_deg": 20.0,
        "head_overlap": 0.82,
        "wanted_stretch": (1.1, 1.0),
        "affine_gain": 0.04,
    }
    refusals, warnings = judged(GOOD | poor)
    assert any("figures together" in text for text in (*refusals, *warnings))


@settings(max_examples=60, deadline=None)
@given(
    dependence=st.floats(0, 1),
    agreement=st.floats(0, 1),
    rival=st.one_of(st.none(), st.floats(0, 3)),
    sharpness=st.floats(-1, 1),
    stretch=st.tuples(st.floats(0.1, 3), st.floats(0.1, 3)),
    gain=st.floats(-1, 3),
    covered=st.floats(0, 1),
)
def test_it_is_a_probability_whatever_the_figures(
    dependence, agreement, rival, sharpness, stretch, gain, covered
):
    figures = {
        "dependence": dependence,
        "agreement": agreement,
        "rival_score": rival,
        "sharpness": sharpness,
        "wanted_stretch": stretch,
        "affine_gain": gain,
        "head_covered": covered,
    }
    assert len(features(figures)) == len(FEATURES)
    assert np.isfinite(features(figures)).all()
    assert 0 < failure_probability(figures) < 1


@pytest.mark.parametrize(
    "worse",
    [{"dependence": 0.1}, {"agreement": 0.3}, {"sharpness": 0.1}, {"rival_score": 0.9}],
)
def test_a_worse_figure_does_not_make_failure_less_likely(worse):
    assert failure_probability(GOOD | worse) >= failure_probability(GOOD)


def simulated(count: int) -> list[dict[str, Any]]:
    """Rows whose failures follow a known law of two figures."""
    rng = np.random.default_rng(4)
    rows = []
    for number in range(count):
        sharpness, rival = rng.uniform(0, 0.6), rng.uniform(0.2, 1)
        odds = -9 * (sharpness - 0.3) + 7 * (rival - 0.6)
        failed = rng.random() < 1 / (1 + np.exp(-odds))
        figures = {"status": "ok", **GOOD, "sharpness": sharpness, "rival_score": rival}
        made = row(9.0 if failed else 1.0, "ok", head=f"head {number % 4}", report=figures)
        rows.append({**made, "law": 1 / (1 + np.exp(-odds))})
    return rows


def test_the_fit_finds_a_known_law_and_is_calibrated_on_heads_it_has_not_seen():
    rows = simulated(600)
    unseen = held_out(rows)
    assert np.abs(unseen - [one["law"] for one in rows]).mean() < 0.05
    for _, _, count, mean, share in reliability(unseen, [r["error_mm"] > 5 for r in rows]):
        assert abs(mean - share) < 3 * np.sqrt(0.25 / count) + 0.02
    weights = dict(zip(FEATURES, fit(rows).weights, strict=True))
    assert weights["sharpness"] < 0 < weights["rival"]
    assert abs(weights["agreement"]) < 1e-6  # it does not vary here


# --- the command


@pytest.fixture(scope="module")
def heads(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("heads") / "one"
    folder.mkdir()
    move = rigid((3.0, -2.0, 4.0), (4.0, 3.0, -5.0))
    volumes = {
        "t1": head("MR", spacing=6.0, shape=(60, 60, 48)),
        "pet": head("PET", spacing=7.0, shape=(42, 44, 38), to_head=move),
    }
    for name, volume in volumes.items():
        image = nib.Nifti1Image(volume[0].numpy(), volume.affine.numpy())
        nib.save(image, folder / f"{name}.nii.gz")
    sitk.WriteTransform(move, str(folder / "pet_to_t1_truth.tfm"))
    return folder.parent


def test_the_command_writes_its_tables_and_does_nothing_twice(heads, tmp_path, capfd):
    call = ("benchmark", heads, "--perturbations", 2, "--seed", 1, "-o", tmp_path / "out")
    status, out, err = command(capfd, *call)
    assert status == 0, err
    assert "silently wrong 0" in out
    found = json.loads((tmp_path / "out" / "alignment.json").read_text())
    assert [r["kind"] for r in found["rows"]] == ["rigid", "far"]
    assert all(r["verdict"] in ("right", "refused") for r in found["rows"])
    assert all(r["before_mm"] > 1 for r in found["rows"])
    kept = (tmp_path / "out" / "alignment.jsonl").read_text()
    again = benchmark_alignment(heads, count=2, seed=1, output_dir=tmp_path / "out")
    assert (tmp_path / "out" / "alignment.jsonl").read_text() == kept
    assert [r["seconds"] for r in again.rows] == [r["seconds"] for r in found["rows"]]


@pytest.mark.parametrize(
    ("more", "word"),
    [
        (("--methods", "max"), "--methods has no meaning with --perturbations"),
        (("--lesions",), "--lesions has no meaning with --perturbations"),
        (("--lesion-count", "30"), "without --lesions"),
    ],
)
def test_options_of_other_kinds_are_refused(heads, tmp_path, capfd, more, word):
    call = ("benchmark", heads, "--perturbations", 2, *more, "-o", tmp_path / "out")
    status, _, err = command(capfd, *call)
    assert status != 0
    assert word in err
    assert not (tmp_path / "out").exists()


def test_a_pair_without_a_truth_is_refused(heads, tmp_path):
    (tmp_path / "one").mkdir()
    for name in ("t1.nii.gz", "pet.nii.gz"):
        (tmp_path / "one" / name).symlink_to(heads / "one" / name)
    with pytest.raises(InputError, match=r"has no truth; write pet_to_t1_truth\.tfm beside it"):
        benchmark_alignment(tmp_path, count=1)
    with pytest.raises(InputError, match="0 perturbations"):
        benchmark_alignment(heads, count=0)


@pytest.mark.slow
def test_no_perturbation_of_a_demo_head_is_silently_wrong(tmp_path):
    package = pytest.importorskip("monai_ddfm.apps.demo")
    pytest.importorskip("nilearn")
    for modality in ("CT", "PET", "SPECT"):
        package.make_demo(tmp_path / "seven", modality=modality, seed=7, scale=2.0)
    package.make_demo(tmp_path / "eight", modality="PET", seed=8, scale=2.0)
    found = benchmark_alignment(tmp_path, count=80, seed=3)
    print(found.text)
    assert found.summary["silently_wrong"] == 0
    assert found.summary["right_or_refused"] >= 0.97 * found.summary["cases"]
    assert found.summary["false_alarms"] < 0.05 * found.summary["right_without_cause_for_warning"]
