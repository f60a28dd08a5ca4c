"""Which volume belongs to an MRI, by name and by series."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monai_ddfm.apps.label.pairing import (
    Candidate,
    PairingRules,
    choose_by_name,
    choose_series,
    modalities_by_name,
    modalities_of_study,
)
from monai_ddfm.data.writers.dicom.context import made_here
from monai_ddfm.errors import InputError
from monai_ddfm.modalities import Modality

PLAIN = PairingRules()


def partner(image: str, *others: str, modality: Modality | None = None) -> str:
    return choose_by_name(image, [image, *others], modality=modality, rules=PLAIN).id


@pytest.mark.parametrize(
    ("image", "moving", "modality"),
    [
        ("t1", "pet", Modality.PET),
        ("sub-01_T1w", "sub-01_pet", Modality.PET),
        ("sub-01_ses-1_acq-MPRAGE_T1w", "sub-01_ses-1_trc-FDG_rec-ac_pet", Modality.PET),
        ("T1 patient7", "CT patient7", Modality.CT),
        ("patient_7_mr", "patient_7_spect", Modality.SPECT),
        ("MR_0012", "PT_0012", Modality.PET),
        ("a_b_flair", "a_b_nm", Modality.SPECT),
    ],
)
def test_names_that_belong_together(image: str, moving: str, modality: Modality) -> None:
    others = ["sub-02_pet", "patient8_CT", "x_spect", "b_t1"]
    found = choose_by_name(image, [image, moving, *others], modality=None, rules=PLAIN)
    assert (found.id, found.modality) == (moving, modality)


def test_one_subject_is_not_another() -> None:
    for image, moving in (("sub-1_T1w", "sub-10_pet"), ("a_1_t1", "a_11_pet"), ("a_t1", "pet")):
        with pytest.raises(InputError, match="has no CT, PET or SPECT by name"):
            partner(image, moving)


def test_candidates_are_listed() -> None:
    with pytest.raises(InputError) as missing:
        partner("a_t1", "b_pet", "c_ct", "c_t1")
    assert "there are b_pet (PET), c_ct (CT);" in str(missing.value)
    with pytest.raises(InputError) as several:
        partner("a_t1", "a_pet", "a_ct")
    assert "a_ct (CT), a_pet (PET)" in str(several.value)
    assert partner("a_t1", "a_pet", "a_ct", modality=Modality.CT) == "a_ct"
    with pytest.raises(InputError, match="nothing to choose from"):
        partner("a_t1")
    with pytest.raises(InputError, match="and more"):
        partner("a_t1", *(f"s{k}_pet" for k in range(40)))


def test_a_map_goes_before_names(tmp_path: Path) -> None:
    file = tmp_path / "pairs.json"
    file.write_text(json.dumps({"x": "scan7", "y": {"image": "scan8", "modality": "SPECT"}}))
    rules = PairingRules.read(pairs=file)
    ids = ["x", "y", "z", "scan7", "scan8", "x_pet"]
    assert choose_by_name("x", ids, modality=Modality.CT, rules=rules) == Candidate(
        "scan7", Modality.CT
    )
    assert choose_by_name("y", ids, modality=None, rules=rules).modality is Modality.SPECT
    with pytest.raises(InputError, match="is no CT"):
        choose_by_name("y", ids, modality=Modality.CT, rules=rules)
    with pytest.raises(InputError, match="which is not in the store"):
        choose_by_name("x", ["x"], modality=None, rules=rules)


@pytest.mark.parametrize(
    "content", ["", "[]", '{"a": 1}', '{"a": {"modality": "PET"}}', '{"a": {"image": ""}}',
                '{"a": {"image": "b", "modality": "XA"}}', '{"a": []}', '{"a": ["b", 1]}'],
)  # fmt: skip
def test_a_map_that_is_none_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "pairs.json"
    file.write_text(content)
    with pytest.raises(InputError):
        PairingRules.read(pairs=file)


def test_a_map_may_name_several(tmp_path: Path) -> None:
    file = tmp_path / "pairs.json"
    file.write_text(json.dumps({"x": [{"image": "s7", "modality": "PET"}, "s8_ct", "s9"]}))
    rules, ids = PairingRules.read(pairs=file), ["x", "s7", "s8_ct", "s9", "x_spect"]
    for kind, chosen in ((Modality.PET, "s7"), (Modality.CT, "s8_ct"), (Modality.SPECT, "s9")):
        assert choose_by_name("x", ids, modality=kind, rules=rules) == Candidate(chosen, kind)
    with pytest.raises(InputError, match=r"pairs 'x' with s7 \(PET\), s8_ct \(CT\), s9; choose"):
        choose_by_name("x", ids, modality=None, rules=rules)
    assert modalities_by_name("x", ids, rules=rules) == (Modality.CT, Modality.PET)


def test_the_modalities_that_there_are() -> None:
    ids = ["a_t1", "a_pet", "a_ct", "a_T2w", "b_spect", "a_notes"]
    assert modalities_by_name("a_t1", ids, rules=PLAIN) == (Modality.CT, Modality.PET)
    assert modalities_by_name("b_t1", ["b_t1"], rules=PLAIN) == ()
    ours = series("5", Modality.SPECT, "SPECT on MR grid; research use only - not for diagnosis")
    ct = series("4", Modality.CT, "CT head")
    assert modalities_of_study("1", [MRI, BEST, ct, ours]) == (Modality.CT, Modality.PET)


def test_a_pattern_of_the_operator() -> None:
    rules = PairingRules.read(pattern=r"(?P<modality>[A-Z]+)(?P<subject>\d+)-.*")
    ids = ["MR12-a", "PT12-b", "PT13-b", "other"]
    assert choose_by_name("MR12-a", ids, modality=None, rules=rules).id == "PT12-b"
    for wrong in ("(", "(?P<subject>x)"):
        with pytest.raises(InputError):
            PairingRules.read(pattern=wrong)


@given(st.lists(st.text("ab_ t1petc-", max_size=8), max_size=6, unique=True), st.data())
def test_a_partner_is_one_of_the_store_and_of_its_subject(ids: list[str], data: object) -> None:
    image = data.draw(st.sampled_from([*ids, "a_t1"]))  # type: ignore[attr-defined]
    try:
        found = choose_by_name(image, ids, modality=None, rules=PLAIN)
    except InputError:
        return
    assert found.id in ids
    assert found.id != image
    assert PLAIN.identify(found.id)[0] == PLAIN.identify(image)[0]


def series(uid: str, modality: Modality, description: str, images: int = 60) -> Candidate:
    return Candidate(uid, modality, description, images)


MRI = series("1", Modality.MR, "T1 MPRAGE")
BEST = series("2", Modality.PET, "PET Brain AC")


@pytest.mark.parametrize(
    "other",
    [
        series("3", Modality.PET, "PET Brain NAC"),
        series("3", Modality.PET, "PET brain uncorrected"),
        series("3", Modality.PET, "PET MIP", 1),
        series("3", Modality.PET, "PET WB"),
        series("3", Modality.PET, "PET Brain AC", 2),
        series("3", Modality.MR, "T2"),
        series("3", Modality.PET, "PET on MR grid; research use only - not for diagnosis"),
        Candidate("3", None, "Dose report"),
    ],
)
def test_the_best_series(other: Candidate) -> None:
    for siblings in ([MRI, other, BEST], [BEST, other, MRI]):
        assert choose_series("1", siblings, modality=None) is BEST
        assert choose_series("1", siblings, modality=Modality.PET) is BEST


def test_equally_good_series_are_listed() -> None:
    twin = series("3", Modality.PET, "PET Brain AC 2")
    with pytest.raises(InputError, match=r"2 \(PET, PET Brain AC, 60 images\), 3 \(PET"):
        choose_series("1", [MRI, BEST, twin], modality=None)
    ct = series("4", Modality.CT, "CT head")
    assert choose_series("1", [MRI, BEST, ct], modality=Modality.CT) is ct


def test_a_study_without_the_modality_is_refused() -> None:
    with pytest.raises(InputError, match="has no SPECT; there are 2"):
        choose_series("1", [MRI, BEST], modality=Modality.SPECT)
    with pytest.raises(InputError, match="nothing to choose from"):
        choose_series("1", [MRI], modality=None)


def test_results_are_told_from_acquired_series() -> None:
    assert made_here("MR+PET fusion color; research use only - not for diagnosis")
    assert not made_here("Demo FDG PET, research use only - not for diagnosis")
    assert not made_here("PET on MR grid")
