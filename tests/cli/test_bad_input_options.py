"""Options and output folders that cannot be: one sentence, and nothing is evaluated or written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from refused_runs import everything_in, with_nan
from run_cases import command, one_sentence

from monai_ddfm.apps.demo import DemoSubject
from monai_ddfm.errors import InputError
from monai_ddfm.workflow import fuse

# --- options


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"modality": "XRAY"}, "'XRAY'"),
        ({"modality": ""}, "CT, PET, SPECT, US or MR"),
        ({"preset": "fast"}, "'fast'"),
        ({"steps": -3}, "-3"),
        ({"steps": 0}, "0"),
        ({"steps": 2000}, "2000"),
        ({"steps": "abc"}, "'--steps'"),
        ({"seed": -1}, "seed -1"),
        ({"seed": "x"}, "'--seed'"),
        ({"batch-size": 0}, "batch size 0"),
        ({"batch-size": "lots"}, "'lots'"),
        ({"device": "cuda:9"}, "'cuda:9'"),
        ({"device": "abacus"}, "'abacus'"),
        ({"registration": "elastic"}, "'elastic'"),
        ({"registration": "gone.tfm"}, "gone.tfm"),
        ({"window": "0..0"}, "0..0"),
        ({"window": "sunny"}, "sunny"),
        ({"fixed": ""}, "'--fixed': it is empty"),
        ({"moving": " "}, "'--moving': it is empty"),
        ({"output-dir": ""}, "'--output-dir'"),
        ({"prior": ""}, "'--prior': it is empty"),
        ({"nonsense": 1}, "--nonsense"),
        ({"fixed": None}, "'--fixed'"),
    ],
    ids=str,
)
def test_an_option_that_cannot_be_is_refused(
    options: dict[str, Any], words: str, refuse: Callable[..., str]
) -> None:
    assert words in refuse(**options)


STRING_OPTIONS = [
    "fixed",
    "moving",
    "modality",
    "output-dir",
    "preset",
    "device",
    "batch-size",
    "registration",
    "window",
    "prior",
]


@pytest.mark.parametrize("option", STRING_OPTIONS)
def test_no_value_is_evaluated(option: str, tmp_path: Path, refuse: Callable[..., str]) -> None:
    trap = tmp_path / "trap"
    payloads = [
        f"$__import__('pathlib').Path({str(trap)!r}).touch()",
        "@bundle_root",
        f"%{tmp_path}/other.json::x",
    ]
    for payload in payloads:
        refuse(**{option: payload})
        assert not trap.exists()


def test_unknown_entries_of_the_configuration(pet: DemoSubject, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'nonsense' is unknown"):
        fuse(pet.fixed, pet.moving, modality="PET", output_dir=tmp_path / "out", nonsense=1)
    assert everything_in(tmp_path) == set()


# --- the output folder


def test_a_folder_below_a_file(tmp_path: Path, refuse: Callable[..., str]) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "out", tmp_path / "file" / "a" / "b"):
        assert str(tmp_path / "file") in refuse(output_dir=folder)


def test_folders_that_cannot_be(refuse: Callable[..., str]) -> None:
    refuse(output_dir="/proc/no/such/place")
    refuse(output_dir="/dev/null/out")
    refuse(output_dir="x" * 300)


def test_results_of_an_earlier_run_stay(tmp_path: Path, refuse: Callable[..., str]) -> None:
    out = tmp_path / "parent" / "out"
    out.mkdir(parents=True)
    (out / "fused.nii.gz").write_bytes(b"earlier")
    refuse(moving=with_nan(tmp_path))
    refuse(steps=0)
    assert (out / "fused.nii.gz").read_bytes() == b"earlier"


# --- another command


def test_a_demo_that_cannot_be_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    for arguments, words in (
        (["--modality", "MR"], "'MR'"),
        (["--modality", "XRAY"], "'XRAY'"),
        (["--seed", "-1"], "-1"),
        (["--output-dir", tmp_path / "file"], "file"),
    ):
        status, out, err = command(capfd, "demo", "-o", tmp_path / "out", *arguments)
        assert status != 0
        assert words in one_sentence(err)
        assert out == ""
    assert not list(tmp_path.glob("out/*.*"))
