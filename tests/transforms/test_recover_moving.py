"""`RecoverMovingd`: which width it takes, what it refuses, and what it tells instead."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from monai_ddfm.errors import InputError
from monai_ddfm.likelihoods.point_spread import gaussian_blur
from monai_ddfm.likelihoods.recovery import RecoveryOptions
from monai_ddfm.transforms import RecoverMovingd
from monai_ddfm.transforms.registration_array import RegisterVolumes
from monai_ddfm.utils.reports import add_report, reports_of

pytestmark = pytest.mark.usefixtures("one_thread_throughout")  # many small operations

SHAPE, EDGE = (36, 36, 30), 2.0
QUICK = RecoveryOptions(rounds=3, iterations=4)


def volume(data: torch.Tensor, affine: np.ndarray, **report: Any) -> MetaTensor:
    """A volume as readers leave it."""
    meta = {"original_affine": affine.copy(), "units": "SUVbw", "modality": "PET"}
    loaded = MetaTensor(data[None], affine=torch.from_numpy(affine), meta=meta)
    add_report(loaded, "reading", {"shape": [1, *data.shape], **report})
    return loaded


def make_case(*, shift: float = 0.0, **report: Any) -> dict[str, Any]:
    """A ball that both scanners see; the upper end of the MRI is outside the PET's view."""
    affine = np.diag([EDGE, EDGE, EDGE, 1.0])
    axes = [EDGE * torch.arange(n) - EDGE * (n - 1) / 2 for n in SHAPE]
    distance = torch.stack(torch.meshgrid(*axes, indexing="ij")).square().sum(0).sqrt()
    head = (0.5 - (distance - 27) / EDGE).clamp(0, 1)
    core = (0.5 - (distance - 8) / EDGE).clamp(0, 1)
    uptake = 4.0 * head + 12.0 * core
    pet = gaussian_blur(SHAPE, [EDGE] * 3, 6.0, like=uptake)(uptake)[:, :, :-6].contiguous()
    fixed = volume(600 * head + 400 * core, affine)
    placed = affine.copy()
    placed[0, 3] = shift
    moving = RegisterVolumes("none", refuse=False)(volume(pet, placed, **report), fixed)
    return {"fixed": fixed, "moving": moving, "core": core, "pet": pet}


@pytest.fixture(scope="module")
def case() -> dict[str, Any]:
    return make_case()


def run(case: dict[str, Any], fwhm: Any, **options: Any) -> dict[str, Any]:
    settings = {"modality": "PET", "options": QUICK, **options}
    return RecoverMovingd(fwhm, **settings)({k: case[k] for k in ("fixed", "moving")})


def told(case: dict[str, Any]) -> list[str]:
    return reports_of(case["moving"])["recovery"]["notes"]


def test_the_estimate_is_a_volume_of_its_own(case: dict[str, Any]) -> None:
    before = case["moving"].clone()
    done = run(case, 6.0)
    assert torch.equal(done["moving"].as_tensor(), before.as_tensor())
    assert "recovery" not in reports_of(done["moving"])
    found = done["moving_recovered"]
    assert found.shape == before.shape
    assert torch.equal(found.affine, before.affine)
    assert float(found.min()) >= 0
    core = case["core"] > 0.9
    assert float(before[0][core].mean()) < 14 < float(found[0][core].mean()) < 17
    # Where the PET has not looked nothing is recovered.
    assert torch.equal(found[..., -6:].as_tensor(), before[..., -6:].as_tensor())
    report = reports_of(found)["recovery"]
    assert report["estimate"] is True
    assert (report["fwhm_mm"], report["fwhm_source"]) == (6.0, "given")
    assert report["interpolation_fwhm_mm"] == [0, 0, 0]  # the grids are one


def test_the_header_is_believed_and_the_interpolation_counted() -> None:
    stated = make_case(shift=0.3 * EDGE, resolution_mm=5.0)
    report = reports_of(run(stated, "auto")["moving_recovered"])["recovery"]
    assert (report["fwhm_mm"], report["fwhm_source"]) == (5.0, "header")
    expected = round(EDGE * np.sqrt(8 * np.log(2) / 6), 2)
    assert report["interpolation_fwhm_mm"] == [expected] * 3
    # A width that is given goes before it.
    report = reports_of(run(stated, 6)["moving_recovered"])["recovery"]
    assert (report["fwhm_mm"], report["fwhm_source"]) == (6.0, "given")


def test_a_narrow_width_is_told() -> None:
    found = run(make_case(shift=0.3 * EDGE), 1.0)["moving_recovered"]
    (note,) = reports_of(found)["recovery"]["notes"]
    assert "narrower than the blur between the voxels" in note


@pytest.mark.parametrize("fwhm", [0, -6, 31, float("nan"), float("inf"), "wide", None, "off"])
def test_a_width_that_cannot_be_is_refused(fwhm: Any) -> None:
    with pytest.raises(InputError, match="is unusable; give --recover-moving more than 0 and at"):
        RecoverMovingd(fwhm, modality="PET")


@pytest.mark.parametrize("modality", ["CT", "US"])
def test_other_modalities_are_refused(modality: str) -> None:
    with pytest.raises(InputError, match=f"not in {modality}; leave --recover-moving out"):
        RecoverMovingd(6.0, modality=modality)


def test_wider_than_the_head_is_told_and_nothing_lost(case: dict[str, Any]) -> None:
    done = run(case, 30.0)
    assert "moving_recovered" not in done
    assert told(done)[0].startswith("a point spread of 30 mm is too wide for a head of")
    assert torch.equal(done["moving"].as_tensor(), case["moving"].as_tensor())


def test_color_an_empty_volume_and_dicom_are_told(case: dict[str, Any]) -> None:
    color = {**case, "moving": case["moving"].repeat(3, 1, 1, 1)}
    assert told(run(color, 6.0)) == ["a volume in color has no uptake to recover"]
    empty = {**case, "moving": case["moving"] * 0}
    assert told(run(empty, 6.0)) == ["one of the volumes is empty where they meet"]
    done = run(case, 6.0, has_files=False)
    assert "moving_recovered" not in done
    assert told(done) == [
        "moving_recovered is not written as DICOM; use --format nifti, both or nrrd"
    ]


def test_no_width_can_be_told_where_uptake_does_not_follow_the_mri(case: dict[str, Any]) -> None:
    noise = torch.rand(case["moving"].shape, generator=torch.Generator().manual_seed(0))
    moving = MetaTensor(1 + noise, affine=case["moving"].affine, meta=case["moving"].meta)
    done = run({**case, "moving": moving}, "auto")
    assert told(done)[0].startswith("the width of the point spread is not in the header and")
