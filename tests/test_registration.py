"""Registration: known transforms recovered, failures owned up to, the same bytes every time."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from monai.data import MetaTensor, decollate_batch, list_data_collate
from monai.transforms import Compose
from scipy.spatial.transform import Rotation

from monai_ddfm.errors import InputError
from monai_ddfm.reports import reports_of
from monai_ddfm.transforms import registration
from monai_ddfm.transforms.registration import (
    ApplyTransform,
    ApplyTransformd,
    RegisterAffine,
    RegisterDeformable,
    RegisterRigid,
    RegisterRigidd,
    RegisterVolumes,
    RegisterVolumesd,
)
from monai_ddfm.transforms.simpleitk_bridge import resample, to_simpleitk
from monai_ddfm.transforms.transform_files import (
    read_transform,
    transform_matrix,
    transform_of,
    write_transform,
)

FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])
AXES = (72.0, 92.0, 66.0)  # half axes of the head, mm


def tissues(points: np.ndarray) -> dict[str, np.ndarray]:
    """A head without symmetry, as functions of the place [..., 3] in LPS mm."""
    rng = np.random.default_rng(5)
    radius = np.sqrt(sum((points[..., a] / AXES[a]) ** 2 for a in range(3)))
    waves = sum(
        np.cos(points @ rng.normal(0, 2 * math.pi / 45, 3) + rng.uniform(0, 6)) for _ in range(8)
    )
    ventricle = np.linalg.norm((points - [12, -8, 6]) / [10, 24, 12], axis=-1) < 1
    brain = (radius < 0.84) & ~ventricle
    return {
        "scalp": (radius < 1) & (radius > 0.92),
        "bone": (radius <= 0.92) & (radius >= 0.84),
        "gray": brain & ((waves > 0.5) | (radius > 0.76)),
        "white": brain & (waves <= 0.5) & (radius <= 0.76),
        "csf": ventricle,
    }


CONTRASTS = {
    "MR": {"scalp": 900.0, "bone": 60.0, "gray": 450.0, "white": 700.0, "csf": 150.0},
    "PET": {"scalp": 900.0, "bone": 200.0, "gray": 8000.0, "white": 2200.0, "csf": 400.0},
    "CT": {"scalp": 1060.0, "bone": 2000.0, "gray": 1040.0, "white": 1030.0, "csf": 1005.0},
}


def points_of(affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), -1)
    lps = FLIP @ affine
    return index @ lps[:3, :3].T + lps[:3, 3]


def head(
    modality: str = "MR",
    *,
    spacing: float = 5.0,
    shape: tuple[int, ...] = (78, 78, 60),  # much air: the working grid gets coarse, and quick
    to_head: sitk.Transform | None = None,
    noise: float = 0.02,
    **meta: object,
) -> MetaTensor:
    """Look at the head through a grid; `to_head` maps places of the grid to places in the head."""
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = -spacing * (np.array(shape) - 1) / 2
    finer = affine @ np.diag([0.5, 0.5, 0.5, 1.0])  # partial volume: eight samples in a voxel
    finer[:3, 3] -= spacing / 4
    points = points_of(finer, tuple(2 * n for n in shape))
    if to_head is not None:
        matrix = transform_matrix(to_head)
        points = points @ matrix[:3, :3].T + matrix[:3, 3]
    levels = CONTRASTS[modality]
    values = sum(levels[name] * mask for name, mask in tissues(points).items())
    values = values.reshape(shape[0], 2, shape[1], 2, shape[2], 2).mean(axis=(1, 3, 5))
    values = values + noise * max(levels.values()) * np.random.default_rng(1).normal(size=shape)
    if modality == "CT":
        values = values - 1000.0
    meta = {"filename_or_obj": f"{modality.lower()}.nii.gz", "modality": modality, **meta}
    tensor = torch.from_numpy(values)[None].float()
    return MetaTensor(tensor, affine=torch.from_numpy(affine), meta=meta)


def rigid(angles=(4.0, -6.0, 5.0), shift=(7.0, -9.0, 6.0)) -> sitk.Transform:
    return sitk.Euler3DTransform((5.0, 0.0, -5.0), *np.radians(angles).tolist(), shift)


HEAD_POINTS = [
    (np.array(AXES) * v / np.linalg.norm(v) * r).tolist()
    for r, v in zip(
        np.linspace(0.05, 1, 200), np.random.default_rng(3).normal(size=(200, 3)), strict=True
    )
]


def tre(found: sitk.Transform, truth: sitk.Transform, points=HEAD_POINTS) -> float:
    """Mean target registration error in mm over points of the fixed head."""
    a, b = (np.array([t.TransformPoint(p) for p in points]) for t in (found, truth))
    return float(np.linalg.norm(a - b, axis=1).mean())


def report(volume: MetaTensor) -> dict:
    return reports_of(volume)["registration"]


@pytest.fixture(scope="module")
def fixed() -> MetaTensor:
    return head("MR")


@pytest.fixture(scope="module")
def moved_pet() -> MetaTensor:
    """The head moved by `rigid()`: points of the PET, mapped to points of the head."""
    return head("PET", spacing=6.0, shape=(48, 50, 44), to_head=rigid().GetInverse())


@pytest.fixture(scope="module")
def registered(fixed, moved_pet) -> MetaTensor:
    return RegisterRigid()(moved_pet, fixed)


def test_a_known_rigid_transform_is_recovered(fixed, moved_pet, registered):
    assert tre(sitk.Transform(3, sitk.sitkIdentity), rigid()) > 8
    assert tre(transform_of(registered), rigid()) < 2
    notes = report(registered)
    assert notes["status"] == "ok"
    assert notes["reasons"] == []
    assert notes["mi_after"] > 2 * notes["mi_before"]
    assert notes["agreement"] > 0.5
    assert notes["head_covered"] > 0.9
    assert notes["rotation_deg"] == pytest.approx(
        np.degrees(np.linalg.norm(Rotation.from_matrix(matrix_of(rigid())).as_rotvec())), abs=1.0
    )
    assert len(notes["corner_displacement_mm"]) == 8
    assert max(notes["corner_displacement_mm"]) == notes["displacement_mm"]
    assert registered.shape == fixed.shape
    assert torch.equal(registered.affine, fixed.affine)
    assert registered.dtype == torch.float32


def matrix_of(transform: sitk.Transform) -> np.ndarray:
    return np.reshape(transform.GetMatrix(), (3, 3))


def test_values_are_interpolated_once_and_keep_their_units(fixed, moved_pet, registered):
    again = resample(moved_pet, fixed, transform_of(registered))
    assert torch.equal(again.as_tensor(), registered.as_tensor())
    assert registered.max() > 0.8 * moved_pet.max()
    assert registered.meta["filename_or_obj"] == "pet.nii.gz"


def test_the_reported_matrix_is_the_one_in_the_file(registered, tmp_path):
    path = write_transform(registered, tmp_path / "transform.tfm")
    matrix = np.array(report(registered)["transform"])
    read = read_transform(path)
    for point in HEAD_POINTS[:5]:
        assert np.allclose((matrix @ [*point, 1.0])[:3], read.TransformPoint(point), atol=1e-9)


def test_the_bytes_do_not_depend_on_the_run_or_the_threads(fixed, moved_pet, registered):
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before + 3)
    try:
        again = RegisterRigid()(moved_pet, fixed)
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)
    assert torch.equal(again.as_tensor(), registered.as_tensor())
    assert report(again) == report(registered)


def test_ct_is_padded_with_air(fixed):
    out = RegisterVolumes("none")(head("CT", spacing=4.0, shape=(50, 60, 40)), fixed)
    assert out[0, 0, 0, 0] == -1000
    assert report(out)["outside"] == -1000


def test_unrelated_volumes_are_refused_with_advice(fixed):
    waves = np.random.default_rng(9).normal(size=(24, 26, 28))
    affine = torch.diag(torch.tensor([9.0, 9.0, 9.0, 1.0], dtype=torch.float64))
    affine[:3, 3] = -110.0
    other = MetaTensor(torch.from_numpy(waves)[None].float(), affine=affine)
    other.meta["filename_or_obj"] = "noise.nii.gz"
    with pytest.raises(InputError) as caught:
        RegisterRigid()(other, fixed)
    message = str(caught.value)
    assert "noise.nii.gz" in message
    assert "mr.nii.gz" in message
    assert "registration=none" in message
    assert "\n" not in message


def test_a_refusal_can_be_a_warning_instead(fixed, moved_pet, tmp_path, caplog):
    away = write_transform(sitk.TranslationTransform(3, (900.0, 0.0, 0.0)), tmp_path / "away.tfm")
    with pytest.raises(InputError, match="covers 0% of the fixed head"):
        ApplyTransform(str(away))(moved_pet, fixed)
    with caplog.at_level(logging.WARNING):
        out = ApplyTransform(str(away), refuse=False)(moved_pet, fixed)
    assert report(out)["status"] == "refuse"
    assert "pet.nii.gz" in caplog.text
    assert (out == 0).all()


def far_away(volume: MetaTensor, **meta: object) -> MetaTensor:
    affine = volume.affine.clone()
    affine[:3, 3] += 2000.0
    kept = {key: value for key, value in volume.meta.items() if key != "affine"}
    return MetaTensor(volume.as_tensor(), affine=affine, meta={**kept, **meta})


@pytest.mark.parametrize("method", ["rigid", "none"])
def test_fields_of_view_that_do_not_meet_are_refused(fixed, moved_pet, method):
    with pytest.raises(InputError, match=r"pet\.nii\.gz.*do not overlap"):
        RegisterVolumes(method)(far_away(moved_pet), fixed)


def test_two_frames_of_reference_need_not_meet_by_their_headers(fixed, moved_pet):
    here = head("MR", frame_of_reference_uid="1.2.3")
    there = far_away(moved_pet, frame_of_reference_uid="1.2.4")
    out = RegisterRigid()(there, here)
    shifted = sitk.CompositeTransform([sitk.TranslationTransform(3, (-2000, -2000, 2000)), rigid()])
    assert tre(transform_of(out), shifted) < 2
    assert report(out)["start"] == "centers"


def test_volumes_aligned_already_are_only_resampled(fixed):
    pet = head("PET", spacing=6.0, shape=(48, 50, 44))
    out = RegisterVolumes("none")(pet, fixed)
    identity = sitk.Transform(3, sitk.sitkIdentity)
    assert torch.equal(out.as_tensor(), resample(pet, fixed, identity).as_tensor())
    assert report(out)["status"] == "ok"
    assert report(out)["agreement"] is None
    assert np.array_equal(report(out)["transform"], np.eye(4))


def test_a_wrong_claim_of_alignment_is_reported_not_refused(fixed, moved_pet):
    notes = report(RegisterVolumes("none")(moved_pet, fixed))
    assert notes["status"] == "warn"
    assert any("would still move the head" in reason for reason in notes["reasons"])


def test_a_given_file_is_applied_and_its_direction_checked(fixed, moved_pet, tmp_path):
    right = write_transform(rigid(), tmp_path / "right.tfm")
    wrong = write_transform(rigid().GetInverse(), tmp_path / "wrong.h5")
    out = ApplyTransform(str(right))(moved_pet, fixed)
    assert torch.equal(out.as_tensor(), resample(moved_pet, fixed, read_transform(right)))
    assert report(out)["status"] == "ok"
    assert report(out)["file"] == str(right)
    inverted = ApplyTransform(str(wrong), invert=True)(moved_pet, fixed)
    assert torch.allclose(inverted.as_tensor(), out.as_tensor(), atol=0.5)
    notes = report(RegisterVolumes(str(wrong))(moved_pet, fixed))
    assert notes["status"] == "warn"
    assert any("inverse fits better" in reason for reason in notes["reasons"])


def test_colors_are_registered_by_luminance_and_resampled_by_channel(fixed):
    pet = head("PET", spacing=6.0, shape=(48, 50, 44))
    colors = torch.cat([pet * 0.02, pet * 0.01, pet * 0.005]).clamp(min=0)
    rgb = MetaTensor(colors.as_tensor(), affine=pet.affine)
    out = RegisterVolumes("none", interpolation="nearest")(rgb, fixed)
    assert out.shape == (3, *fixed.shape[1:])
    assert torch.allclose(out[0], 2 * out[1])
    assert torch.allclose(out[1], 2 * out[2])


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"method": "magic"}, "rigid, affine, deformable, none"),
        ({"method": "missing.tfm"}, "missing.tfm"),
        ({"start": "corner"}, "centers"),
        ({"interpolation": "sinc"}, "bspline"),
        ({"control_spacing": 0.0}, "control_spacing"),
    ],
)
def test_options_that_make_no_sense_are_refused_at_once(options, word):
    with pytest.raises(InputError, match=word):
        RegisterVolumes(**options)


def test_thin_and_small_volumes_end_in_a_result_or_a_refusal(fixed):
    generator = torch.Generator().manual_seed(0)
    for shape in [(20, 20, 1), (2, 2, 2), (1, 1, 1)]:
        small = MetaTensor(torch.rand(1, *shape, generator=generator), affine=torch.eye(4))
        out = RegisterRigid(refuse=False)(small, small)
        assert out.shape == small.shape
        assert torch.isfinite(out).all()


def test_dictionary_versions_replace_the_moving_volume_only(fixed, moved_pet, tmp_path):
    path = str(write_transform(rigid(), tmp_path / "t.tfm"))
    case = {"fixed": fixed, "moving": moved_pet, "other": 1}
    out = Compose([RegisterVolumesd(method=path)])(case)
    assert out["fixed"] is fixed
    assert out["other"] == 1
    assert case["moving"] is moved_pet
    assert "registration" not in reports_of(moved_pet)
    assert torch.equal(out["moving"].as_tensor(), ApplyTransformd(path)(case)["moving"])
    assert json.loads(json.dumps(report(out["moving"])))["status"] == "ok"


def test_the_names_follow_monai():
    assert RegisterVolumes("Rigid").method == "rigid"
    for name in ("RegisterVolumes", "RegisterRigid", "RegisterAffine", "RegisterDeformable"):
        dictionary = getattr(registration, f"{name}d")
        assert getattr(registration, f"{name}D") is dictionary
        assert getattr(registration, f"{name}Dict") is dictionary
    assert RegisterRigidd("a", "b", start="headers").register.start == "headers"


# Real and simulated subjects


def load(path: Path, modality: str) -> MetaTensor:
    image = nib.load(path)
    values = torch.from_numpy(np.asarray(image.dataobj, dtype=np.float32))[None]
    meta = {"filename_or_obj": str(path), "modality": modality}
    return MetaTensor(values, affine=torch.from_numpy(image.affine), meta=meta)


def points_of_head(volume: MetaTensor, step: int = 12) -> list[list[float]]:
    values = volume[0].numpy()
    index = np.argwhere(values[::step, ::step, ::step] > 0.1 * np.percentile(values, 99)) * step
    lps = FLIP @ volume.affine.numpy()
    return (index @ lps[:3, :3].T + lps[:3, 3]).tolist()


def turned_by(volume: MetaTensor, move: sitk.Transform) -> MetaTensor:
    """Move a volume in space by its header alone; `move` maps old places to new ones, LPS."""
    affine = torch.from_numpy(FLIP @ transform_matrix(move) @ FLIP) @ volume.affine
    kept = {key: value for key, value in volume.meta.items() if key != "affine"}
    return MetaTensor(volume.as_tensor(), affine=affine, meta=kept)


@pytest.fixture(scope="module")
def subject(shared: Path) -> tuple[MetaTensor, MetaTensor, sitk.Transform]:
    folder = shared / "data" / "mr_pet_subject"
    truth = sitk.ReadTransform(str(folder / "pet_to_t1_truth.tfm")).GetInverse()
    return load(folder / "t1.nii.gz", "MR"), load(folder / "pet_moved.nii.gz", "PET"), truth


def test_the_shared_subject_is_aligned_within_two_millimeters(subject):
    fixed, moving, truth = subject
    out = RegisterRigid()(moving, fixed)
    assert tre(transform_of(out), truth, points_of_head(fixed)) < 2
    assert report(out)["status"] == "ok"
    place = np.array(points_of_head(fixed)[::7])  # values against the source, at random places
    inverse = np.linalg.inv(FLIP @ fixed.affine.numpy())
    index = np.round(place @ inverse[:3, :3].T + inverse[:3, 3]).astype(int)
    source = sitk.GetImageFromArray(moving[0].numpy().transpose(2, 1, 0))
    lps = FLIP @ moving.affine.numpy()
    for i, p in zip(index.tolist(), place.tolist(), strict=True):
        there = np.linalg.solve(lps, [*transform_of(out).TransformPoint(p), 1.0])[:3]
        if (there > 0).all() and (there < np.array(moving.shape[1:]) - 1).all():
            value = source.EvaluateAtContinuousIndex(there.tolist(), sitk.sitkLinear)
            assert out[0, *i].item() == pytest.approx(value, abs=2.0)


def random_move(seed: int, center: np.ndarray) -> sitk.Transform:
    """Up to 15 degrees about a random axis and 25 mm in a random direction."""
    rng = np.random.default_rng(seed)
    axis, direction = rng.normal(size=(2, 3))
    move = sitk.VersorRigid3DTransform()
    move.SetCenter(center.tolist())
    move.SetRotation(axis.tolist(), math.radians(rng.uniform(0, 15)))
    move.SetTranslation((direction / np.linalg.norm(direction) * rng.uniform(0, 25)).tolist())
    return move


@pytest.mark.slow
def test_random_offsets_are_recovered_or_owned_up_to(subject):
    fixed, moving, truth = subject
    points = points_of_head(fixed)
    good = 0
    for seed in range(20):
        move = random_move(seed, np.mean(points, axis=0))
        whole = sitk.CompositeTransform([move, truth])
        out = RegisterRigid(refuse=False)(turned_by(moving, move), fixed)
        before = tre(sitk.Transform(3, sitk.sitkIdentity), whole, points)
        after, notes = tre(transform_of(out), whole, points), report(out)
        print(
            f"seed {seed:2d}: {before:5.1f} mm -> {after:5.2f} mm, {notes['status']}, agreement "
            f"{notes['agreement']:.2f}, dependence {notes['dependence']:.2f}"
        )
        good += after < 2
        assert after < 2 or notes["status"] != "ok"
    assert good >= 19


@pytest.mark.slow
@pytest.mark.parametrize("axis", [(1.0, 0.0, 0.0), (0.0, 0.0, 1.0)])
def test_a_head_turned_right_round_by_its_header_is_refused(subject, axis):
    fixed, moving, truth = subject
    turn = sitk.VersorRigid3DTransform(axis, math.pi)
    turn.SetCenter(np.mean(points_of_head(fixed), axis=0).tolist())
    with pytest.raises(InputError, match="different starts disagree"):
        RegisterRigid()(turned_by(moving, turn), fixed)


@pytest.fixture
def demo(tmp_path):
    """Make a coarse demo subject: fixed, moving, and the transform between them."""
    package = pytest.importorskip("monai_ddfm.demo")
    pytest.importorskip("nilearn")

    def make(modality: str, **options):
        made = package.make_demo(tmp_path, modality=modality, **options)
        truth = sitk.ReadTransform(str(made.truth)).GetInverse()
        return load(made.fixed, "MR"), load(made.moving, modality), truth

    return make


@pytest.mark.parametrize("modality", ["CT", pytest.param("SPECT", marks=pytest.mark.slow)])
def test_coarse_demo_subjects_are_aligned_within_two_millimeters(modality, demo):
    fixed, moving, truth = demo(modality, seed=0, scale=3.0)
    out = RegisterRigid()(moving, fixed)
    assert tre(transform_of(out), truth, points_of_head(fixed, 4)) < 2
    assert report(out)["status"] == "ok"


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("modality", ["PET", "CT", "SPECT"])
def test_demo_subjects_are_aligned_within_two_millimeters(modality, seed, demo):
    fixed, moving, truth = demo(modality, seed=seed)
    out = RegisterRigid()(moving, fixed)
    assert tre(transform_of(out), truth, points_of_head(fixed)) < 2
    assert report(out)["status"] == "ok"


@pytest.mark.slow
def test_an_affine_transform_is_recovered(demo):
    fixed, moving, truth = demo("PET", seed=0, scale=3.0)
    points = points_of_head(fixed, 4)
    stretch = sitk.AffineTransform(3)
    stretch.SetCenter(np.mean(points, axis=0).tolist())
    stretch.SetMatrix(np.diag([0.93, 0.95, 1.02]).ravel().tolist())
    whole = sitk.CompositeTransform([stretch, truth])
    out = RegisterAffine()(turned_by(moving, stretch), fixed)
    assert tre(transform_of(out), whole, points) < 2
    assert report(out)["stretch"] == pytest.approx([1.02, 0.93], abs=0.03)
    assert report(out)["status"] == "ok"


class _Bend:
    """A rigid transform, and then a smooth displacement by up to 9 mm with a known formula."""

    waves = np.array([[0.031, 0.01, -0.012], [-0.008, 0.029, 0.015], [0.013, -0.011, 0.03]])

    def __init__(self, before: sitk.Transform, center: np.ndarray) -> None:
        self.before = before
        self.center = center

    def TransformPoint(self, point) -> np.ndarray:  # noqa: N802
        place = np.array(self.before.TransformPoint(point))
        return place + 5.0 * np.sin((place - self.center) @ self.waves.T)

    def bend(self, volume: MetaTensor) -> MetaTensor:
        """Displace the content of `volume`; the inverse is found by iteration."""
        points = points_of(volume.affine.numpy(), tuple(volume.shape[1:]))
        place = points
        for _ in range(12):
            place = points - 5.0 * np.sin((place - self.center) @ self.waves.T)
        grid = to_simpleitk(volume)[0]
        shift = np.ascontiguousarray((place - points).transpose(2, 1, 0, 3))
        field = sitk.GetImageFromArray(shift, isVector=True)
        field.CopyInformation(grid)
        return resample(volume, volume, sitk.DisplacementFieldTransform(field))


def test_a_deformation_is_halved_and_can_be_repeated_from_its_file(demo, tmp_path):
    fixed, moving, truth = demo("PET", seed=0, scale=3.0)
    points = points_of_head(fixed, 4)
    whole = _Bend(truth, np.mean(points, axis=0))
    moving = whole.bend(moving)
    out = RegisterDeformable(control_spacing=80.0)(moving, fixed)
    assert tre(transform_of(out), whole, points) < 0.6 * tre(truth, whole, points)
    notes = report(out)
    assert notes["transform"] is None
    assert notes["status"] == "ok"
    assert 0.5 < notes["volume_change"][0] < notes["volume_change"][1] < 2
    item = decollate_batch(list_data_collate([{"moving": out}]))[0]["moving"]
    path = write_transform(item, tmp_path / "transform.tfm")
    again = resample(moving, fixed, sitk.ReadTransform(str(path)))
    assert torch.equal(again.as_tensor(), out.as_tensor())
