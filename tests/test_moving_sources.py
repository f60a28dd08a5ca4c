"""Several moving volumes: what each is called, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from monai_ddfm.errors import InputError
from monai_ddfm.modalities import Modality
from monai_ddfm.sources import Source, names_of, sources_of


def test_a_single_volume_is_called_as_ever() -> None:
    (one,) = sources_of("pet.nii.gz", "pet", window="0..10", series="FDG", frames="1-3")
    assert one.key == "moving"
    assert one.scaled_key == "moving_scaled"
    assert one.loaded_key == "moving_source"
    assert (one.weight_key, one.stability_key) == ("weight", "weight_stability")
    assert one.file("weight.nii.gz") == "weight.nii.gz"
    assert one.title == "PET"
    assert (one.series, one.frames, one.window) == ("FDG", "1-3", "0..10")


def test_several_are_called_by_their_modality() -> None:
    pet, ct = sources_of(["a.nii", "b.nii"], ["PET", "CT"], window=["0..10", "default"])
    assert (pet.key, ct.key) == ("moving_pet", "moving_ct")
    assert pet.file("moving_registered.nii.gz") == "moving_registered_pet.nii.gz"
    assert (ct.weight_key, ct.stability_key) == ("weight_ct", "weight_stability_ct")
    assert (pet.title, ct.title) == ("PET", "CT")
    assert (pet.window, ct.window) == ("0..10", None)


def test_two_tracers_are_called_by_their_names() -> None:
    kinds = ["PET", "PET", "CT"]
    found = sources_of(["a", "b", "c"], kinds, name=["fdg", "amyloid", "ct"])
    assert [one.key for one in found] == ["moving_fdg", "moving_amyloid", "moving_ct"]
    assert [one.title for one in found] == ["PET fdg", "PET amyloid", "CT"]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            {"moving": ["a", "b"], "modality": "PET"},
            "2 moving volumes and 1 modality do not go together; give --modality once for each "
            "--moving, in the same order.",
        ),
        (
            {"moving": "a", "modality": ["PET", "CT"]},
            "1 moving volume and 2 modalities do not go together; give --modality once for each "
            "--moving, in the same order.",
        ),
        (
            {"moving": ["a", "b"], "modality": ["PET", "PET"]},
            "2 of the moving volumes are PET; tell them apart with --name, once for each --moving, "
            "in the same order.",
        ),
        (
            {"moving": ["a", "./a"], "modality": ["PET", "CT"]},
            "a is given twice; give each moving volume once.",
        ),
        (
            {"moving": "a", "modality": "PET", "name": ["fdg"]},
            "a name tells several moving volumes apart; leave --name out.",
        ),
        (
            {"moving": ["a", "b"], "modality": ["PET", "CT"], "window": "bone"},
            "window is given 1 time for 2 moving volumes; give --window once for each, default "
            "where it is to be its own.",
        ),
        (
            {"moving": ["a", "b"], "modality": ["PET", "CT"], "beside": {"recover_moving": 6.0}},
            "the recovery is for one moving volume; leave --recover-moving out with several.",
        ),
        (
            {"moving": ["a", "b"], "modality": ["PET", "CT"], "beside": {"bone_tint": True}},
            "the tint of bone is for one moving volume; leave --bone-tint out with several.",
        ),
        (
            {"moving": ["a", "b"], "modality": ["PET", "CT"], "beside": {"preset": "paper"}},
            "the preset paper fuses one moving volume; use default for several.",
        ),
        (
            {"moving": ["a", "b"], "modality": ["PET", "CT"], "beside": {"registration": "t.tfm"}},
            "the transform file t.tfm is of one moving volume; register several with rigid, affine "
            "or deformable, or give volumes that are aligned and none.",
        ),
    ],
)
def test_what_does_not_go_together_is_one_sentence(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError) as refused:
        sources_of(**given)
    assert str(refused.value) == sentence


def test_what_holds_for_all_goes_with_several() -> None:
    beside = {"samples": 8, "recover_moving": "off", "bone_tint": False, "preset": "default"}
    beside |= {"registration": "affine", "smooth_across": 0.0, "reference_mask": None}
    found = sources_of(["a", "b"], ["PET", "CT"], beside=beside)
    assert [one.path for one in found] == ["a", "b"]


@pytest.mark.parametrize("name", ["FDG", "a b", "", "x" * 17, "mri", "scaled", "../up"])
def test_a_name_must_do_for_a_file(name: str) -> None:
    with pytest.raises(InputError, match="cannot be the name of a moving volume"):
        names_of([Modality.PET, Modality.PET], [name, "other"])


def test_two_volumes_of_one_name_are_refused() -> None:
    with pytest.raises(InputError, match="two moving volumes are called 'fdg'"):
        names_of([Modality.PET, Modality.PET], ["fdg", "fdg"])


def test_a_record_is_frozen() -> None:
    with pytest.raises(AttributeError):
        Source(modality=Modality.CT).name = "ct"  # type: ignore[misc]
