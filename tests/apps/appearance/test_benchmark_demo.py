"""`benchmark-demo`: where the truth lies, its figures by hand, a whole run, what is refused."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from typer.testing import CliRunner

from monai_ddfm.apps.appearance import AppearanceResult, AppearanceRow, NoiseRow, benchmark_demo
from monai_ddfm.apps.appearance.figures import measure_appearance, measure_noise
from monai_ddfm.apps.appearance.heads import Head, simulate_head
from monai_ddfm.apps.benchmark import Case
from monai_ddfm.apps.demo.anatomy import Anatomy, build_anatomy
from monai_ddfm.apps.demo.modalities import rigid_truth
from monai_ddfm.cli import app
from monai_ddfm.errors import InputError

pytest.importorskip("nilearn")

ROOMS = ("white", "gray", "ventricles", "bone", "hot", "cold", "beside")


@pytest.fixture(scope="module")
def anatomy() -> Anatomy:
    return build_anatomy(1, voxel=2.0)


@pytest.mark.parametrize("modality", ["PET", "CT"])
def test_regions_lie_where_the_scans_show_them(
    modality: str, anatomy: Anatomy, tmp_path: Path
) -> None:
    place = tmp_path / "t1_to_other.tfm"
    sitk.WriteTransform(rigid_truth(1, modality).GetInverse(), str(place))
    options = {"registration": place}
    head = simulate_head(anatomy, modality, seed=1, scale=2.5, options=options)
    assert set(head.regions) == set(ROOMS)
    mri, moving = (
        {name: float(one[torch.from_numpy(r)].mean()) for name, r in head.regions.items()}
        for one in head.case.image[0]
    )
    assert mri["ventricles"] + 0.2 < mri["gray"] < mri["white"] - 0.15
    assert abs(mri["cold"] - mri["beside"]) < 0.05
    if modality == "CT":
        assert moving["bone"] > 0.2 + max(moving[name] for name in ROOMS if name != "bone")
    else:
        assert moving["hot"] > max(moving[name] for name in ROOMS if name != "hot")
        assert moving["cold"] < 0.5 * moving["beside"]
        assert moving["white"] < 0.7 * moving["gray"]


def by_hand(modality: str) -> Head:
    """A row of seven rooms of two voxels each, with means that are easy to reckon with."""
    fixed = [0.9, 0.5, 0.1, 0.2, 0.6, 0.5, 0.5]
    moving = [0.3, 0.7, 0.2, 1.0, 0.8, 0.2, 0.6]
    image = torch.tensor([fixed, moving]).repeat_interleave(2, dim=1).reshape(1, 2, 14, 1, 1)
    image[0, 0, ::2] += 0.05
    image[0, 0, 1::2] -= 0.05
    number = np.repeat(np.arange(7), 2).reshape(14, 1, 1)
    regions = {name: number == place for place, name in enumerate(ROOMS)}
    case = Case(name="rooms", modality=modality, image=image, fixed=image[0], moving=image[0])
    return Head(seed=0, case=case, regions=regions)


def test_figures_by_hand() -> None:
    head = by_hand("PET")
    image = head.case.image
    mri, pet = image[:, :1], image[:, 1:]
    as_mri = {"gray-white": 1.0, "ventricles": 1.0, "hot lesion": 0.75, "cold lesion": 0.0}
    as_pet = {"gray-white": -1.0, "ventricles": 0.125, "hot lesion": 1.0, "cold lesion": 1.0}
    assert measure_appearance(head, mri) == pytest.approx(as_mri | {"excess": 0.0}, abs=1e-6)
    assert measure_appearance(head, pet) == pytest.approx(as_pet | {"excess": 0.0}, abs=1e-6)
    mean = {name: (as_mri[name] + as_pet[name]) / 2 for name in as_mri} | {"excess": 0.0}
    # The PET's contrast of the ventricles has the MRI's sign: .8 and .1 of .8.
    assert measure_appearance(head, (mri + pet) / 2) == pytest.approx(mean, abs=1e-6)
    above = measure_appearance(head, image.amax(1, keepdim=True) + 0.04)
    assert above["excess"] == pytest.approx(0.04, abs=1e-6)


def test_bone_is_asked_of_a_ct_and_an_empty_region_of_nothing() -> None:
    head = by_hand("CT")
    figures = measure_appearance(head, head.case.image[:, :1])
    assert set(figures) == {"gray-white", "ventricles", "bone", "excess"}
    assert figures["bone"] == pytest.approx(0.2)
    nowhere = {"bone": np.zeros((14, 1, 1), dtype=bool)}
    head = Head(seed=0, case=head.case, regions={**head.regions, **nowhere})
    assert math.isnan(measure_appearance(head, head.case.image[:, :1])["bone"])


def test_noise_is_measured_against_the_clean_sources() -> None:
    ramp = torch.linspace(0.2, 0.8, 16).expand(1, 2, 24, 24, 16)
    case = Case(name="ramp", modality="PET", image=ramp, fixed=ramp[0], moving=ramp[0])
    step = torch.zeros(16)
    step[::2] = 0.1
    figures = measure_noise(case, ramp[:, :1], ramp[:, :1] + step)
    assert figures["PSNR"] == pytest.approx(10 * math.log10(2 / 0.1**2), abs=0.3)
    # From slice to slice .04 up in the sources, and .06 down or .14 up in the noisy one.
    assert figures["flicker"] == pytest.approx(255 * (0.02 + 0.1) / 2, rel=0.1)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[AppearanceResult, Path]:
    folder = tmp_path_factory.mktemp("demo") / "out"
    result = benchmark_demo(
        methods={"mri": lambda image: image[:, :1], "own": "default:steps=3"},
        modalities=["PET"],
        planes=["axial", "three"],
        noise="gaussian:15",
        scale=4.0,
        prior="identity",  # what a prior is worth is no matter here
        output_dir=folder,
    )
    return result, folder


def test_a_whole_run(finished: tuple[AppearanceResult, Path]) -> None:
    result, _ = finished
    assert list(result.methods) == ["mri", "own axial", "own three"]
    rows = {row.method: row.figures for row in result.rows}
    assert rows["mri"]["gray-white"] == pytest.approx(1)
    assert rows["mri"]["ventricles"] == pytest.approx(1)
    assert rows["mri"]["excess"] == 0
    assert 0.5 < rows["own axial"]["hot lesion"] <= 1.1
    assert rows["own axial"]["excess"] < 0.03
    noisy = {row.method: row.figures for row in result.noisy}
    assert noisy["mri"]["PSNR"] == pytest.approx(20 * math.log10(255 / 15), abs=0.7)
    assert noisy["own axial"]["PSNR"] != noisy["own three"]["PSNR"]
    assert math.isnan(noisy["mri"]["time"])
    assert noisy["own axial"]["time"] == 1
    seconds = [noisy[f"own {planes}"]["processor_seconds"] for planes in ("axial", "three")]
    assert noisy["own three"]["time"] == pytest.approx(seconds[1] / seconds[0])


def test_what_a_run_writes(finished: tuple[AppearanceResult, Path]) -> None:
    result, folder = finished
    assert (folder / "appearance.txt").read_text(encoding="utf-8") == result.text
    written = json.loads((folder / "appearance.json").read_text(encoding="utf-8"))
    assert written["settings"]["seeds"] == [0]
    assert written["settings"]["methods"]["own three"]["planes"] == "three"
    assert [row["method"] for row in written["noisy"]] == list(result.methods)
    assert written["noisy"][0]["figures"]["time"] is None
    lines = list(csv.DictReader((folder / "appearance.csv").open(encoding="utf-8")))
    (line,) = (
        one
        for one in lines
        if (one["method"], one["figure"], one["noise"]) == ("own three", "flicker", "gaussian:15")
    )
    assert float(line["value"]) == result.noisy[2].figures["flicker"]
    assert (folder / "pictures" / "PET-head-0.png").stat().st_size > 5000
    kept = sorted(path.name.rpartition("-")[0] for path in folder.glob("runs/PET-head-0/*.npz"))
    assert kept == ["gaussian-15-own-axial", "gaussian-15-own-three", "own-axial", "own-three"]


def test_tables_have_means_over_heads() -> None:
    rows = [
        AppearanceRow(
            modality="CT", seed=s, method="a", figures={"bone": 0.5 + s / 10, "excess": 0}
        )
        for s in (0, 2)
    ]
    figures = {"PSNR": 30.0, "flicker": 2.0, "time": math.nan}
    noisy = [NoiseRow(modality="CT", seed=0, method="a", noise="rician:8", figures=figures)]
    text = AppearanceResult(methods=["a"], rows=rows, noisy=noisy).text
    assert text.startswith("CT: what is kept of the sources, means over 2 heads\n")
    assert "\na            0.600         0\n" in text
    assert "fused(noisy), rician noise of 8 of 255, one head\n" in text
    assert "\na            30.00        2.000         -\n" in text
    assert text.endswith("research use only - not for diagnosis\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", "x"], "seeds 'x' are unusable"),
        (["--scale", "9"], "scale 9 is unusable"),
        (["--modalities", "US"], "modality 'US' is unknown; use PET, CT, SPECT"),
        (["--methods", "overlay"], "method 'overlay' is unknown"),
        (["--planes", "two"], "planes 'two' are unknown"),
        (["--planes", "axial,three"], "three planes need 3 steps or more, and method 'default'"),
        (["--noise", "salt:3"], "noise 'salt' is unknown"),
    ],
)
def test_what_cannot_be_is_refused(arguments: list[str], message: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["benchmark-demo", "-o", str(tmp_path / "out"), *arguments])
    assert isinstance(result.exception, InputError)
    assert message in str(result.exception)
    assert not (tmp_path / "out").exists()
