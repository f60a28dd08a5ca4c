"""Bad input: one sentence that names the file and the mend, a status, and nothing written."""

from __future__ import annotations

import itertools
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from run_cases import SMALL, command, demo_subject, one_sentence, randomize

from monai_ddfm.checkpoints import save_prior
from monai_ddfm.demo import DemoSubject
from monai_ddfm.errors import InputError
from monai_ddfm.networks import ADMUNet
from monai_ddfm.workflow import fuse

Make = Callable[[Path], Path]


@pytest.fixture(scope="module")
def pet(tmp_path_factory: pytest.TempPathFactory) -> DemoSubject:
    return demo_subject(tmp_path_factory.getbasetemp(), "PET", dicom=True)


@pytest.fixture
def refuse(
    pet: DemoSubject,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., str]:
    """Run `monai-ddfm fuse` with options that must be refused; returns the sentence."""
    monkeypatch.chdir(tmp_path)  # what goes astray shall land there

    def run(**options: object) -> str:
        before = everything_in(tmp_path)
        settings: dict[str, object] = {
            "fixed": pet.fixed,
            "moving": pet.moving,
            "modality": "PET",
            "output-dir": tmp_path / "parent" / "out",
            "steps": 1,
            "registration": "none",
            "device": "cpu",
        }
        settings |= {name.replace("_", "-"): value for name, value in options.items()}
        flags = [f"--{name}={value}" for name, value in settings.items() if value is not None]
        status, out, err = command(capfd, "fuse", *flags)
        assert status != 0
        assert out == ""
        assert everything_in(tmp_path) == before
        return one_sentence(err)

    return run


def everything_in(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def head(seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).random((12, 12, 12), np.float32)


def nifti(path: Path, data: NDArray[Any], affine: NDArray[np.float64] | None = None) -> Path:
    nib.save(nib.Nifti1Image(data, np.eye(4) if affine is None else affine), path)
    return path


# --- volumes


def missing(folder: Path) -> Path:
    return folder / "gone.nii.gz"


def no_image_but_named_so(folder: Path) -> Path:
    (folder / "letter.nii.gz").write_text("Dear colleague, please find attached")
    return folder / "letter.nii.gz"


def text_file(folder: Path) -> Path:
    (folder / "notes.txt").write_text("no image")
    return folder / "notes.txt"


def photograph(folder: Path) -> Path:
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(folder / "photo.png")
    return folder / "photo.png"


def empty_file(folder: Path) -> Path:
    (folder / "empty.nii").touch()
    return folder / "empty.nii"


def cut_short(folder: Path) -> Path:
    path = nifti(folder / "cut.nii", head())
    path.write_bytes(path.read_bytes()[:2000])
    return path


def flat(folder: Path) -> Path:
    return nifti(folder / "flat.nii.gz", head()[..., 0])


def single_slice(folder: Path) -> Path:
    return nifti(folder / "slice.nii.gz", head()[..., :1])


def no_voxels(folder: Path) -> Path:
    return nifti(folder / "none.nii.gz", head()[:0])


def with_nan(folder: Path) -> Path:
    data = head()
    data[3, 4, 5] = np.nan
    return nifti(folder / "nan.nii.gz", data)


def with_infinity(folder: Path) -> Path:
    data = head()
    data[3, 4, 5] = -np.inf
    return nifti(folder / "inf.nii.gz", data)


def constant(folder: Path) -> Path:
    return nifti(folder / "constant.nii.gz", np.full((12, 12, 12), 7, np.int16))


def zero(folder: Path) -> Path:
    return nifti(folder / "zero.nii.gz", np.zeros((12, 12, 12), np.float32))


def with_sform(path: Path, rows: list[list[float]]) -> Path:
    """A volume whose header says something that no library would write."""
    nifti(path, head())
    content = bytearray(path.read_bytes())
    struct.pack_into("<2h", content, 252, 0, 1)
    struct.pack_into("<12f", content, 280, *np.ravel(rows))
    path.write_bytes(content)
    return path


def singular(folder: Path) -> Path:
    rows = [[1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]]
    return with_sform(folder / "singular.nii", rows)


def zero_spacing(folder: Path) -> Path:
    rows = [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]
    return with_sform(folder / "thin.nii", rows)


def nowhere(folder: Path) -> Path:
    rows = [[1.0, 0.0, 0.0, np.nan], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]]
    return with_sform(folder / "nowhere.nii", rows)


def folder_without_images(folder: Path) -> Path:
    (folder / "papers").mkdir()
    (folder / "papers" / "notes.txt").write_text("no image")
    return folder / "papers"


def empty_folder(folder: Path) -> Path:
    (folder / "nothing").mkdir()
    return folder / "nothing"


VOLUMES: dict[Make, str] = {
    missing: "does not exist",
    no_image_but_named_so: "",
    text_file: "not an image",
    photograph: "not an image",
    empty_file: "empty",
    cut_short: "",
    flat: "not a volume",
    single_slice: "not a volume",
    no_voxels: "empty",
    with_nan: "1 NaN",
    with_infinity: "1 infinite",
    constant: "every voxel",
    zero: "every voxel",
    singular: "singular",
    zero_spacing: "measure",
    nowhere: "affine",
    folder_without_images: "",
    empty_folder: "",
}


@pytest.mark.parametrize(
    ("make", "role"),
    list(zip(VOLUMES, itertools.cycle(["fixed", "moving"]), strict=False)),
    ids=lambda part: part if isinstance(part, str) else part.__name__,
)
def test_volumes(make: Make, role: str, tmp_path: Path, refuse: Callable[..., str]) -> None:
    path = make(tmp_path)
    said = refuse(**{role: path})
    assert str(path) in said
    assert VOLUMES[make] in said


def test_a_fourth_axis_of_the_mri(tmp_path: Path, refuse: Callable[..., str]) -> None:
    path = nifti(tmp_path / "series.nii.gz", np.stack([head(seed) for seed in range(3)], -1))
    assert str(path) in refuse(fixed=path)


def test_five_axes(tmp_path: Path, refuse: Callable[..., str]) -> None:
    data = np.random.default_rng(0).random((6, 6, 6, 2, 2), np.float32)
    path = nifti(tmp_path / "more.nii.gz", data)
    assert str(path) in refuse(moving=path)


@pytest.mark.parametrize("registration", ["rigid", "none"])
def test_fields_of_view_that_do_not_meet(
    registration: str, tmp_path: Path, pet: DemoSubject, refuse: Callable[..., str]
) -> None:
    volume = nib.load(pet.moving)
    affine = volume.affine.copy()
    affine[:3, 3] += 5000
    path = nifti(tmp_path / "far.nii.gz", np.asarray(volume.dataobj), affine)
    said = refuse(moving=path, registration=registration)
    assert "do not overlap" in said
    assert str(path) in said
    assert str(pet.fixed) in said


def test_one_file_twice(pet: DemoSubject, tmp_path: Path, refuse: Callable[..., str]) -> None:
    assert f"{pet.fixed} is given twice" in refuse(moving=pet.fixed)
    shutil.copy(pet.fixed, tmp_path / "t1.nii.gz")
    assert "given twice" in refuse(fixed="t1.nii.gz", moving=tmp_path / "t1.nii.gz")


def test_a_modality_that_the_header_denies(pet: DemoSubject, refuse: Callable[..., str]) -> None:
    assert str(pet.fixed_dicom) in refuse(moving=pet.fixed_dicom, modality="CT")


# --- options


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"modality": "XRAY"}, "'XRAY'"),
        ({"modality": ""}, "CT, PET or SPECT"),
        ({"modality": "MR"}, "'MR' is that of the fixed volume"),
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
def test_options(options: dict[str, Any], words: str, refuse: Callable[..., str]) -> None:
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


# --- priors


@pytest.fixture
def prior(tmp_path: Path) -> Path:
    save_prior(randomize(ADMUNet(**SMALL)), tmp_path / "prior.pt")
    return tmp_path / "prior.pt"


def test_priors(prior: Path, tmp_path: Path, refuse: Callable[..., str]) -> None:
    assert "gone.pt" in refuse(prior=tmp_path / "gone.pt")
    assert str(tmp_path) in refuse(prior=tmp_path)
    content = prior.read_bytes()
    for length in (0, 10, len(content) // 2, len(content) - 1):
        prior.write_bytes(content[:length])
        assert str(prior) in refuse(prior=prior)
    prior.write_bytes(content)
    prior.with_suffix(".json").write_text("{}")
    assert "prior.json" in refuse(prior=prior)
    prior.with_suffix(".json").unlink()
    assert "sidecar" in refuse(prior=prior)


def test_a_prior_that_is_no_prior(tmp_path: Path, refuse: Callable[..., str]) -> None:
    page, weights = tmp_path / "page.pt", tmp_path / "linear.pt"
    page.write_text("<!DOCTYPE html><html>Sign in</html>")
    assert "web page" in refuse(prior=page)
    torch.save(torch.nn.Linear(2, 2).state_dict(), weights)
    assert str(weights) in refuse(prior=weights)


def test_weights_that_are_not_those_of_the_sidecar(prior: Path, refuse: Callable[..., str]) -> None:
    sidecar = prior.with_suffix(".json").read_text()
    save_prior(randomize(ADMUNet(**SMALL), seed=1), prior)
    prior.with_suffix(".json").write_text(sidecar)
    assert "describes other weights" in refuse(prior=prior)


# --- other commands


def test_demo(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
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


def test_prior_commands(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    text = tmp_path / "notes.pt"
    text.write_text("no weights")
    for arguments in (
        ["info", tmp_path / "gone.pt"],
        ["info", text],
        ["convert", tmp_path / "gone.pt", tmp_path / "out.pt"],
        ["convert", text, tmp_path / "out.pt"],
        ["convert", text, tmp_path / "out.pt", "--dtype", "int8"],
        ["convert", text],
        ["melt", text],
    ):
        status, out, err = command(capfd, "prior", *arguments)
        assert status != 0
        assert out == ""
        one_sentence(err)
    assert everything_in(tmp_path) == {text}
