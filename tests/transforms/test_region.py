"""A body is told from a head, found without its table, registered, scaled and judged as a body."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from bodies import SCALE, VOXEL, abdomen, as_tensor, scans_of_abdomen, truth_of
from moved_heads import head
from scipy import ndimage

from monai_ddfm.data.transform_files import transform_matrix, transform_of
from monai_ddfm.errors import InputError
from monai_ddfm.modalities import Modality
from monai_ddfm.transforms.body_outline import body_mask
from monai_ddfm.transforms.histogram import fit_map, head_mask, outline_mask
from monai_ddfm.transforms.intensity import NormalizeByModality
from monai_ddfm.transforms.region import (
    ChooseRegiond,
    decide_region,
    region_of,
    width_of_outline,
)
from monai_ddfm.transforms.registration import RegisterRigid
from monai_ddfm.transforms.registration_starts import cube_starts
from monai_ddfm.transforms.registration_verdict import judge
from monai_ddfm.transforms.similarity import working_image
from monai_ddfm.transforms.simpleitk_bridge import scalar_image
from monai_ddfm.transforms.windows import finding_level, parse_window
from monai_ddfm.utils.reports import reports_of


def trunk_of(modality: str, scale: float = SCALE) -> np.ndarray:
    """The true trunk, filled and without arms, on the grid of a scan, by ITK."""
    body = abdomen()
    inside = sum(body.tissues.values()) > 0.5
    labels, _ = ndimage.label(inside)
    middle = tuple(n // 2 for n in inside.shape)
    trunk = np.stack([ndimage.binary_fill_holes(s) for s in (labels == labels[middle]).T]).T
    scan = scans_of_abdomen(modality, scale)[1]
    to_lps = np.diag([-1.0, -1.0, 1.0, 1.0])
    matrix = np.linalg.inv(body.affine) @ to_lps @ transform_matrix(truth_of(modality)) @ to_lps
    index = matrix @ scan.affine
    return ndimage.affine_transform(
        trunk.astype(np.float32),
        index[:3, :3],
        index[:3, 3],
        output_shape=scan.data.shape,
        order=1,
        mode="nearest",
    )


# --- the outline


@pytest.mark.parametrize(("modality", "scale"), [("CT", 1.0), ("PET", SCALE)])
def test_the_trunk_is_found_without_table_and_arms(modality, scale):
    scan = scans_of_abdomen(modality, scale)[1]
    found, trunk = body_mask(scan.data.astype(np.float64)), trunk_of(modality, scale) > 0.5
    dice = 2 * (found & trunk).sum() / (found.sum() + trunk.sum())
    assert dice > 0.95
    if modality == "CT":  # the table is brighter than air, and beneath the trunk
        beneath = (scan.data > -950) & ~trunk
        assert beneath.sum() > 0.05 * trunk.sum()
        assert (found & beneath).sum() < 0.2 * beneath.sum()


def test_gas_in_the_body_is_inside_and_what_is_all_body_is_all_inside():
    scan = scans_of_abdomen("CT")[1]
    found = body_mask(scan.data.astype(np.float64))
    deep = ndimage.binary_erosion(trunk_of("CT") > 0.99, iterations=3)
    assert (scan.data[deep] < -700).any()
    assert found[deep].all()
    assert body_mask(np.random.default_rng(0).normal(100, 5, (12, 12, 6))).all()
    assert body_mask(np.full((8, 8, 4), 3.0)).all()


def test_a_head_keeps_its_own_outline():
    values = head("MR", spacing=10.0, shape=(36, 36, 24))[0].numpy().astype(np.float64)
    assert np.array_equal(outline_mask(values, "head"), head_mask(values))


# --- the decision


def test_sizes_tell_a_body_from_a_head():
    fixed, moving = (as_tensor(v) for v in scans_of_abdomen("PET"))
    assert 320 < width_of_outline(fixed) < 380  # the trunk is 352 mm, give or take 4 percent
    decision = decide_region(fixed, [moving])
    assert decision.region == "body"
    assert "outline in the fixed volume is" in decision.reason
    assert decide_region(head("MR", spacing=8.0, shape=(48, 48, 36)), []).region == "head"


def test_the_width_is_that_from_left_to_right_however_the_axes_lie():
    fixed = as_tensor(scans_of_abdomen("PET")[0])
    turned = fixed.permute(0, 3, 1, 2).contiguous()
    turned.affine = fixed.affine[:, [2, 0, 1, 3]]
    assert width_of_outline(turned) == pytest.approx(width_of_outline(fixed), abs=VOXEL)


@pytest.mark.parametrize(
    ("fixed_part", "moving_part", "region"),
    [
        ("BRAIN", "PELVIS", "head"),
        ("Abdomen", "", "body"),
        ("", "HEAD", "head"),
        ("WHOLEBODY", "CHEST", "body"),
        ("", "KNEE", "head"),
    ],
)
def test_headers_are_asked_first_and_the_fixed_one_before_the_other(
    fixed_part, moving_part, region
):
    inside = np.random.default_rng(0).normal(100, 5, (12, 12, 6)).astype(np.float32)
    fixed, moving = (
        as_tensor(type(scans_of_abdomen("CT")[0])(inside, np.diag([9.0, 9, 9, 1])), body_part=part)
        for part in (fixed_part, moving_part)
    )
    assert decide_region(fixed, [moving]).region == region
    assert decide_region(fixed, [moving], choice="body").region == "body"


def test_a_region_that_is_none_is_refused():
    with pytest.raises(InputError, match="'knee' is unknown: use head, body, auto"):
        ChooseRegiond("knee")
    with pytest.raises(InputError, match="'knee' is unknown"):
        RegisterRigid(region="knee")


# --- what follows from it


@pytest.fixture(scope="module")
def case() -> dict:
    fixed, moving = (as_tensor(v) for v in scans_of_abdomen("PET"))
    return ChooseRegiond()({"fixed": fixed, "moving": moving})


def test_the_case_is_told_what_it_shows(case):
    assert region_of(case["fixed"]) == region_of(case["moving"]) == "body"
    note = reports_of(case["fixed"])["region"]
    assert note["region"] == "body"
    assert "taken to show a body" in note["notes"][0]
    asked = ChooseRegiond("body")(dict(case))
    assert [n[:9] for n in reports_of(asked["fixed"])["region"]["notes"]] == ["the prior"]


@pytest.mark.slow
def test_a_body_is_registered_and_judged_without_the_figure_for_heads(case):
    out = RegisterRigid()(case["moving"], case["fixed"])
    points = np.stack(np.meshgrid([-120.0, 120], [-70.0, 70], [-80.0, 80]), -1).reshape(-1, 3)
    back = truth_of("PET").GetInverse()
    there = np.array([back.TransformPoint(p) for p in points.tolist()])
    found = np.array([transform_of(out).TransformPoint(p) for p in points.tolist()])
    assert np.linalg.norm(there - points, axis=1).mean() > 8
    assert np.linalg.norm(there - found, axis=1).mean() < 3
    report = reports_of(out)["registration"]
    assert (report["region"], report["status"]) == ("body", "ok")
    assert report["failure_probability"] is None
    assert report["wanted_stretch"] is None
    assert any("not calibrated for this region" in note for note in report["notes"])
    assert any("breathing" in text for text in report["not_seen"])
    assert "head" not in " ".join(report["not_seen"])


def test_a_body_is_turned_over_but_not_stood_on_its_side():
    fixed, moving = (
        working_image(scalar_image(as_tensor(v)), spacing=12.0, region="body")
        for v in scans_of_abdomen("PET")
    )
    starts = list(cube_starts(fixed, moving, sitk.AffineTransform(3)))
    assert len(starts) == 3
    for place, _ in starts:
        assert np.allclose(np.abs(transform_matrix(place)[:3, :3]), np.eye(3), atol=1e-9)


def test_outlines_and_sizes_of_a_body_are_told_and_not_judged():
    figures = {
        "agreement": 1.0,
        "head_covered": 0.4,
        "fov_overlap": 0.4,
        "dependence": 0.2,
        "stretch": (1.0, 1.0),
        "failure_probability": None,
        "rotation_deg": 40.0,
        "rival_score": None,
        "outline_offset_mm": 40.0,
        "outline_spread_mm": 40.0,
        "wanted_stretch": (1.3, 0.9),
        "affine_gain": 0.4,
        "displacement_mm": 90.0,
        "volume_change": None,
    }
    refusals, warnings = judge(figures, same_frame=True, region="body")
    assert refusals == []
    assert warnings == [
        "the moving field of view covers 40% of the fixed body",
        "it turns the body by 40 degrees",
        "it moves the body by 90 mm within one frame",
    ]
    of_head = judge(figures | {"failure_probability": 0.2}, same_frame=True)[1]
    assert len(of_head) == 6


def test_bone_is_the_same_gray_in_the_window_of_a_body_and_fat_is_seen():
    assert finding_level("CT", "body") == pytest.approx(finding_level("CT", "fusion"))
    window = parse_window("body", Modality.CT)
    fitted = fit_map(as_tensor(scans_of_abdomen("CT")[1])[0], window, region="body")
    air, fat, organ, bone = fitted.forward(
        as_tensor(scans_of_abdomen("CT")[1])[0].new_tensor([-900.0, -100, 60, 250])
    ).tolist()
    assert air == -1
    assert fat > -0.9
    assert organ - fat > 0.3
    assert (bone + 1) / 2 == pytest.approx(finding_level("CT"), abs=1e-6)


def test_a_volume_that_shows_a_body_is_scaled_as_one():
    fixed, ct = (as_tensor(v, region="body") for v in scans_of_abdomen("CT"))
    notes = reports_of(NormalizeByModality("CT")(ct))["intensity"]
    assert notes["window"] == "body"
    assert reports_of(NormalizeByModality("CT", window="brain")(ct))["intensity"]["lower"] == 0
    scaled = NormalizeByModality("MR")(fixed)[0]
    inside = body_mask(fixed[0].numpy().astype(np.float64))
    assert float((scaled[~inside] == -1).float().mean()) > 0.9
    assert float((scaled[inside] > -1).float().mean()) > 0.9
    pet = as_tensor(scans_of_abdomen("PET")[1], region="body")
    assert reports_of(NormalizeByModality("PET")(pet))["intensity"]["window"] == "0..99%"
    pet.meta["region"] = "head"
    assert reports_of(NormalizeByModality("PET")(pet))["intensity"]["window"] == "0..99.9%"


def test_the_configuration_decides_before_anything_depends_on_it():
    root = Path(__file__).parents[2] / "bundles/ddfm_medical_fusion/configs/inference.json"
    steps = json.loads(root.read_text(encoding="utf-8"))["preprocessing"]["transforms"]
    names = [step["_target_"].rsplit(".", 1)[-1] for step in steps]
    assert names.index("ChooseRegiond") < names.index("ShareItemsd")
    assert names.index("ChooseRegiond") < names.index("RegisterVolumesd")
