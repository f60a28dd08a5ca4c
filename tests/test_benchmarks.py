"""The benchmark: pairs, methods, noise, resumption, tables and pictures."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from run_cases import SMALL, command, demo_subject, one_sentence, randomize
from skimage.metrics import structural_similarity
from torch import Tensor

from monai_ddfm.baselines import fuse_baseline, stretch_contrast
from monai_ddfm.benchmarks import (
    BenchmarkResult,
    Case,
    MethodRow,
    Noise,
    Pair,
    Prior,
    benchmark,
    find_pairs,
    identity_prior,
    load_case,
    parse_methods,
)
from monai_ddfm.benchmarks.curves import ways
from monai_ddfm.benchmarks.figures import measure_robustness
from monai_ddfm.benchmarks.plots import families
from monai_ddfm.benchmarks.store import RunStore, code_hash
from monai_ddfm.checkpoints import save_prior
from monai_ddfm.demo.pictures import make_picture_pair
from monai_ddfm.errors import InputError
from monai_ddfm.inferers import PRESETS, DDFMInferer, tailored
from monai_ddfm.metrics import PUBLISHED_METRICS, evaluate_fusion
from monai_ddfm.networks import ADMUNet
from monai_ddfm.rectifiers import EMRectifier

NOTICE = "research use only - not for diagnosis"


@pytest.fixture(scope="module")
def small_prior() -> Prior:
    return Prior(randomize(ADMUNet(**SMALL)), "small")


def heads(name: str, modality: str, *, seed: int = 0, size: tuple[int, ...] = (48, 44)) -> Case:
    """Two sources with a bright disk (or ball) on black, and texture inside."""
    generator = torch.Generator().manual_seed(seed)
    grids = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in size), indexing="ij")
    head = sum(grid**2 for grid in grids) < 0.7
    image = (0.3 + 0.6 * torch.rand(2, *size, generator=generator)) * head
    return Case(name=name, modality=modality, image=image[None], fixed=image[:1], moving=image[1:])


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two MRI-PET pairs and one MRI-CT pair, as folders of PNG files."""
    generator = np.random.default_rng(0)
    for folder, names in (("MRI-PET", ("a", "b")), ("MRI-CT", ("c",))):
        moving = folder.partition("-")[2]
        for name in names:
            case = heads(name, moving, seed=ord(name))
            for role, image in (("MRI", case.fixed), (moving, case.moving)):
                path = tmp_path / "pairs" / folder / role / f"{name}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                levels = (image[0].numpy() * 255).astype(np.uint8)
                if role == "PET":
                    tint = generator.random(3)
                    levels = (levels[..., None] * tint).astype(np.uint8)
                Image.fromarray(levels).save(path)
    return tmp_path / "pairs"


# Pairs


def test_pictures_are_found_by_folder_and_name(pictures: Path) -> None:
    pairs = find_pairs(pictures)
    assert [(p.modality, p.name) for p in pairs] == [("CT", "c"), ("PET", "a"), ("PET", "b")]
    assert pairs[1].fixed == pictures / "MRI-PET" / "MRI" / "a.png"
    assert pairs[1].moving == pictures / "MRI-PET" / "PET" / "a.png"
    assert all(pair.is_picture for pair in pairs)
    assert [p.name for p in find_pairs(pictures, limit=1)] == ["c", "a"]
    assert [p.name for p in find_pairs(pictures / "MRI-PET")] == ["a", "b"]


def test_volumes_and_dicom_folders_are_found(tmp_path: Path) -> None:
    for name in ("one/t1.nii.gz", "one/pet_moved.nii.gz", "one/truth.tfm", "two/MRI/1.dcm"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "two" / "CT").mkdir()
    pairs = find_pairs(tmp_path)
    assert pairs == [
        Pair(
            name="one",
            modality="PET",
            fixed=tmp_path / "one" / "t1.nii.gz",
            moving=tmp_path / "one" / "pet_moved.nii.gz",
        ),
        Pair(
            name="two",
            modality="CT",
            fixed=tmp_path / "two" / "MRI",
            moving=tmp_path / "two" / "CT",
        ),
    ]
    assert not any(pair.is_picture for pair in pairs)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ((), "holds no pairs"),
        (("MRI/a.png", "PET/a.png", "PET/b.png"), "b.png has no partner"),
        (("mri.nii.gz", "t1.nii.gz", "pet.nii.gz"), "may both be meant"),
    ],
)
def test_folders_without_clear_pairs_are_refused(
    tmp_path: Path, made: tuple[str, ...], words: str
) -> None:
    for name in made:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(InputError, match=words):
        find_pairs(tmp_path)


def test_pictures_are_taken_as_they_are(pictures: Path) -> None:
    ct, pet, _ = (load_case(pair) for pair in find_pairs(pictures))
    levels = np.asarray(Image.open(pictures / "MRI-CT" / "CT" / "c.png")) / 255
    np.testing.assert_allclose(ct.image[0, 1], levels, atol=1e-6)
    rgb = np.asarray(Image.open(pictures / "MRI-PET" / "PET" / "a.png")) / 255
    np.testing.assert_allclose(pet.image[0, 1], rgb @ [0.299, 0.587, 0.114], atol=1e-6)
    source = pet.colored_source()
    assert source is not None
    np.testing.assert_allclose(source, np.moveaxis(rgb, -1, 0), atol=1e-6)
    assert ct.colored_source() is None


# Methods


def test_options_belong_to_the_method_before_them() -> None:
    methods = parse_methods(
        "average, default:prior_share=0.6,steps=8,max,paper,eta=0.5,as=p", steps=4
    )
    assert [method.label for method in methods] == [
        "average",
        "default:prior_share=0.6,steps=8",
        "max",
        "p",
    ]
    assert methods[1].options == {"prior_share": 0.6, "steps": 8}
    assert methods[3].options == {"eta": 0.5, "steps": 4}
    assert [method.is_baseline for method in methods] == [True, False, True, False]


def test_options_of_a_modality_hold_there_alone() -> None:
    (method,) = parse_methods("default:levels=3,CT.levels=1,SPECT.window=4")
    assert method.options_for("PET") == {"levels": 3}
    assert method.options_for("CT") == {"levels": 1}
    assert method.options_for("SPECT") == {"levels": 3, "window": 4}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no method is named"),
        ("best", "method 'best' is unknown"),
        ("max,max", "given twice"),
        ("default:fast", "is no name=value"),
        ("max:levels=3", "has no option 'levels'"),
        ("default:colour=3", "has no option 'colour'; it has"),
        ("default:prior_share=2", "must lie between 0 and 1"),
        ("default:rectifier=best", "rectifier 'best' is unknown"),
        ("default:solver=fast", "solver 'fast' is unknown"),
        ("default:prior=/nowhere.pt", "/nowhere.pt is not a file"),
        ("default:MR.steps=3", "use CT, PET, SPECT or IR"),
        ("default:levels=many", "is of the wrong kind"),
    ],
)
def test_unusable_methods_are_refused(text: str, words: str, small_prior: Prior) -> None:
    with pytest.raises(InputError, match=words):
        benchmark([heads("a", "CT")], methods=text, prior=small_prior)


def results_of(methods: Any, case: Case, prior: Prior) -> dict[str, Tensor]:
    """The fused images themselves, by way of a method that looks on."""
    runs: dict[str, Tensor] = {}
    for method in parse_methods(methods):
        prepared = method.prepare(case.modality, prior=lambda name: _prior(name, prior))
        runs[method.label] = prepared.fuse(case.image)
    return runs


def _prior(name: str | None, own: Prior) -> Prior:
    return identity_prior() if name == "identity" else own


def test_a_preset_with_options_is_what_the_inferer_gives(small_prior: Prior) -> None:
    case = heads("a", "CT")
    found = results_of(
        "default:prior_share=0.8,steps=3,seed=4,reference:steps=2,tv=false,"
        "default:rectifier=em,variant=paper,steps=2,as=em",
        case,
        small_prior,
    )
    image, network = case.image * 2 - 1, small_prior.network
    share = tailored("default", modality="CT", prior_share=0.8)
    wanted = DDFMInferer(preset=share, steps=3, seed=4)(image, network)
    np.testing.assert_allclose(
        found["default:prior_share=0.8,steps=3,seed=4"], (wanted[:, :1] + 1) / 2, atol=1e-6
    )
    plain = EMRectifier(luminance="limited", tv=False)
    wanted = DDFMInferer(preset="reference", steps=2, rectifier=plain)(image, network)
    np.testing.assert_allclose(
        found["reference:steps=2,tv=false"], (wanted[:, :1] + 1) / 2, atol=1e-6
    )
    wanted = DDFMInferer(steps=2, rectifier=EMRectifier(variant="paper"))(image, network)
    np.testing.assert_allclose(found["em"], (wanted[:, :1] + 1) / 2, atol=1e-6)


def test_the_identity_prior_removes_nothing(small_prior: Prior) -> None:
    """With it alone (share 1), sampling without noise keeps what it starts from, within the box."""
    network = identity_prior().network
    x = torch.randn(1, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(network(x, torch.tensor([500])), torch.zeros_like(x))
    case = heads("a", "CT")
    own, without = results_of(
        "default:steps=3,default:steps=3,prior=identity", case, small_prior
    ).values()
    assert float((own - without).abs().max()) > 1e-3


# Noise


def test_noise_has_the_strength_that_it_says() -> None:
    source = torch.full((200, 200), 0.5)
    mask = torch.ones(200, 200, dtype=torch.bool)
    for kind in ("gaussian", "rician", "poisson"):
        noisy = Noise(kind, 15).add(source, mask=mask, seed=(0, kind)) * 255
        assert float((noisy - 127.5).square().mean().sqrt()) == pytest.approx(15, rel=0.03)
        expected = math.sqrt(127.5**2 + 15**2) if kind == "rician" else 127.5
        assert float(noisy.mean()) == pytest.approx(expected, abs=0.35)


def test_noise_on_black_is_that_of_its_kind() -> None:
    black, mask = torch.zeros(100, 100), torch.zeros(100, 100, dtype=torch.bool)
    assert float(Noise("poisson", 15).add(black, mask=mask, seed=(0,)).max()) == 0
    rician = Noise("rician", 15).add(black, mask=mask, seed=(0,)) * 255
    assert float(rician.mean()) == pytest.approx(15 * math.sqrt(math.pi / 2), rel=0.03)


def test_noise_belongs_to_the_seed_the_pair_and_the_source() -> None:
    noise = Noise.parse("gaussian:10")
    case = heads("a", "CT")
    again, other = case.noisy(noise), heads("b", "CT").noisy(noise)
    assert torch.equal(case.noisy(noise).image, again.image)
    assert not torch.equal(case.noisy(noise, seed=1).image, again.image)
    assert not torch.equal(other.image - heads("b", "CT").image, again.image - case.image)
    added = (again.image - case.image)[0]
    assert float(torch.corrcoef(added.flatten(1))[0, 1]) < 0.5
    assert again.key != case.key
    assert str(again.noise) == "gaussian:10"


@pytest.mark.parametrize(
    "text", ["salt:3", "gaussian:many", "gaussian:0", "rician:-1", "poisson:nan"]
)
def test_unusable_noise_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="noise"):
        Noise.parse(text)


def test_the_head_is_the_bright_object_with_its_holes() -> None:
    case = heads("a", "CT", size=(48, 40, 3))
    case.image[0, :, 20:26, 18:22] = 0
    case.image[..., 0] = 0
    head = case.head()
    assert not bool(head[..., 0].any())
    assert bool(head[20:26, 18:22, 1].all())
    assert not bool(head[:3, :3].any())


# Figures


def test_robustness_against_scikit_image() -> None:
    case = heads("a", "CT", seed=3)
    noisy = case.noisy(Noise("gaussian", 20))
    first, second = (fuse_baseline(c.image, method="max") for c in (case, noisy))
    found = measure_robustness(case, first, second)
    mask = case.head().numpy()
    clean, moved = (image[0, 0].double().numpy() * 255 for image in (first, second))
    error = ((clean - moved) ** 2)[mask].mean()
    assert found["PSNR"] == pytest.approx(10 * math.log10(255**2 / error), abs=1e-4)
    options: dict[str, Any] = {
        "gaussian_weights": True,
        "sigma": 1.5,
        "use_sample_covariance": False,
    }
    _, values = structural_similarity(clean, moved, data_range=255, full=True, **options)
    inside = mask.copy()
    inside[:5], inside[-5:], inside[:, :5], inside[:, -5:] = False, False, False, False
    assert found["SSIM"] == pytest.approx(values[inside].mean(), abs=1e-6)


def test_the_figures_are_those_of_the_metrics(pictures: Path, small_prior: Prior) -> None:
    pairs = find_pairs(pictures)
    result = benchmark(
        pairs, methods="average,guided,reference:steps=2", stretch="both", prior=small_prior
    )
    assert len(result.rows) == 3 * 3 * 2
    for row in result.rows:
        pair = next(p for p in pairs if (p.modality, p.name) == (row.modality, row.pair))
        case = load_case(pair)
        if row.method == "reference:steps=2":
            output = DDFMInferer(preset="reference", steps=2)(
                case.image * 2 - 1, small_prior.network
            )
            fused = (output[:, :1] + 1) / 2
        else:
            fused = fuse_baseline(case.image, method=row.method)
        excess = torch.relu(torch.maximum(fused - case.image.amax(1), case.image.amin(1) - fused))
        assert row.figures["excess"] == pytest.approx(float(excess.max()), abs=1e-5)
        shown = stretch_contrast(fused) if row.stretch else fused.clamp(0, 1)
        wanted = evaluate_fusion(shown, case.image, metrics=PUBLISHED_METRICS)
        for name in PUBLISHED_METRICS:
            assert row.figures[name] == pytest.approx(float(wanted[name]), rel=2e-3, abs=1e-4)
        assert ("hue" in row.figures) == (row.modality == "PET")


def test_functions_and_presets_from_python(small_prior: Prior) -> None:
    cases = [heads("a", "CT"), heads("b", "CT", seed=1, size=(24, 32))]
    methods = {
        "mine": lambda image: image[:, :1],
        "short": PRESETS["paper"],
        "max": "max",
    }
    result = benchmark(cases, methods=methods, steps=2, metrics=["SD"], prior=small_prior)
    assert result.methods == ["mine", "short", "max"]
    assert result.baselines == ["max"]
    own = [row.figures["SD"] for row in result.rows if row.method == "mine"]
    expected = [float((c.image[0, 0] * 255).round().std(correction=0)) for c in cases]
    np.testing.assert_allclose(own, expected, rtol=1e-5)


def test_a_function_of_the_wrong_shape_is_named() -> None:
    with pytest.raises(InputError, match="a method gave"):
        benchmark([heads("a", "CT")], methods={"bad": lambda image: image})


# Keeping what is finished


def kept(folder: Path) -> dict[str, int]:
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in sorted(folder.rglob("*.npz"))}


def test_what_is_finished_is_not_done_again(
    pictures: Path, tmp_path: Path, small_prior: Prior
) -> None:
    out, options = tmp_path / "out", {"methods": "average,default:steps=1", "noise": "gaussian:15"}
    first = benchmark(pictures, output_dir=out, prior=small_prior, **options)
    before = kept(out)
    assert len(before) == 2 * 3 * 2
    calls = []
    small_prior.network.register_forward_hook(lambda *_: calls.append(1))
    again = benchmark(pictures, output_dir=out, prior=small_prior, **options)
    assert calls == []
    assert again.text == first.text
    assert again.csv == first.csv
    # A picture that has changed, and nothing else, is done again.
    path = pictures / "MRI-CT" / "MRI" / "c.png"
    Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
    benchmark(pictures, output_dir=out, prior=small_prior, **options)
    assert len(calls) == 2
    assert before.items() <= kept(out).items()
    # So are other options, and another prior.
    benchmark(pictures, output_dir=out, prior=small_prior, methods="default:steps=1,eta=0.1")
    assert len(calls) == 2 + 3
    benchmark(pictures, output_dir=out, prior=Prior(small_prior.network, "other"), **options)
    assert len(calls) == 2 + 3 + 6


def test_a_run_that_was_killed_goes_on(pictures: Path, tmp_path: Path, small_prior: Prior) -> None:
    count = 0

    def die(*_: object) -> None:
        nonlocal count
        count += 1
        if count == 2:
            raise KeyboardInterrupt

    methods = parse_methods("default:steps=1")
    network = small_prior.network
    handle = network.register_forward_hook(die)
    with pytest.raises(KeyboardInterrupt):
        benchmark(pictures, output_dir=tmp_path / "out", methods=methods, prior=small_prior)
    handle.remove()
    assert len(kept(tmp_path / "out")) == 1
    assert not (tmp_path / "out" / "benchmark.json").exists()
    whole = benchmark(pictures, output_dir=tmp_path / "out", methods=methods, prior=small_prior)
    fresh = benchmark(pictures, methods=methods, prior=small_prior)
    assert [row.figures for row in whole.rows] == [row.figures for row in fresh.rows]


def test_the_hash_of_the_code_covers_what_fuses_and_not_what_draws() -> None:
    assert code_hash("fusion") != code_hash("figures")
    assert len(code_hash("fusion")) == 64
    store = RunStore(None)
    assert store.load("a", "b", "c") is None


def test_the_result_does_not_depend_on_company(small_prior: Prior) -> None:
    cases = [heads("a", "CT"), heads("b", "CT", seed=1), heads("c", "PET", seed=2)]
    together = benchmark(cases, methods="default:steps=2,pyramid", prior=small_prior)
    alone = [benchmark([c], methods="default:steps=2,pyramid", prior=small_prior) for c in cases]
    wanted = {(r.pair, r.method): r.figures for one in alone for r in one.rows}
    for row in together.rows:
        for name, value in row.figures.items():
            assert value == pytest.approx(wanted[row.pair, row.method][name], rel=1e-6, nan_ok=True)


# Tables


def handmade() -> BenchmarkResult:
    table = {"average": (1.0, 2.0), "max": (3.0, 1.0), "ours": (2.0, 2.5)}
    rows = [
        MethodRow(
            modality="CT",
            pair=pair,
            method=method,
            stretch=False,
            figures={"EN": values[0] + shift, "SD": values[1] - shift, "excess": 0.0},
            seconds=0.5,
        )
        for method, values in table.items()
        for pair, shift in (("a", 0.0), ("b", 0.5))
    ]
    return BenchmarkResult(
        metrics=("EN", "SD"),
        methods=["average", "max", "ours"],
        baselines=["average", "max"],
        rows=rows,
    )


def test_means_and_comparisons() -> None:
    result = handmade()
    assert result.mean("EN", modality="CT", method="ours") == 2.25
    assert math.isnan(result.mean("EN", modality="PET", method="ours"))
    assert result.better("ours", "max", modality="CT") == {"EN": False, "SD": True}
    text = result.text
    assert "CT: means over 2 pairs, no stretch" in text
    assert "ours: better than average in 2 of 2\n" in text
    assert "ours: better than max in 1 of 2 (not EN)\n" in text
    best = next(line for line in text.splitlines() if line.startswith("ours "))
    assert best.split()[:3] == ["ours", "2.250", "2.25*"]
    assert text.endswith(NOTICE + "\n")


def test_csv_and_json_hold_every_figure() -> None:
    result = handmade()
    lines = list(csv.DictReader(result.csv.splitlines()))
    assert len(lines) == 6
    assert lines[-1]["method"] == "ours"
    assert float(lines[-1]["EN"]) == 2.5
    document = result.json
    ours = next(mean for mean in document["means"] if mean["method"] == "ours")
    assert ours["better_than"] == {"average": ["EN", "SD"], "max": ["SD"]}
    assert document["notice"] == NOTICE


def test_what_is_written(pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = benchmark(pictures, methods="average,max", noise="rician:10", output_dir=out)
    assert (out / "benchmark.txt").read_text(encoding="utf-8") == result.text
    assert (out / "benchmark.csv").read_text(encoding="utf-8") == result.csv
    document = json.loads((out / "benchmark.json").read_text(encoding="utf-8"))
    assert document["settings"]["noise"] == ["rician:10"]
    assert document["settings"]["priors"] == {}
    assert len(document["robustness"]) == 6
    drawn = {path.name for path in (out / "pictures").iterdir()}
    names = {"CT-c", "PET-a", "PET-b"}
    assert drawn == {f"{n}.png" for n in names} | {f"{n}-rician-10.png" for n in names}
    with Image.open(out / "pictures" / "PET-a.png") as opened:
        assert opened.text["Description"] == NOTICE  # type: ignore[attr-defined]
        grid = np.asarray(opened).astype(int)
    # Panels of 352 x 384, the results in color as their source is.
    tiles = [grid[48:432, 8 + 360 * n : 360 + 360 * n] for n in (0, 1, 2)]
    spread = [float((tile.max(-1) - tile.min(-1)).max()) for tile in tiles]
    assert spread[0] == 0
    assert spread[1] > 40
    assert spread[2] > 40


def test_volumes_go_through_the_bundle_and_show_their_flicker(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, small_prior: Prior
) -> None:
    subject = demo_subject(tmp_path_factory.getbasetemp(), "PET", dicom=True)
    pair = Pair(name="demo", modality="PET", fixed=subject.fixed, moving=subject.moving)
    result = benchmark(
        [pair],
        methods="max,pyramid",
        metrics=["SD"],
        registration="none",
        output_dir=tmp_path,
        prior=small_prior,
    )
    maximum, pyramid = (row.figures for row in result.rows)
    assert maximum["flicker"] < 1e-4
    assert pyramid["flicker"] > 1e-3
    assert (tmp_path / "pictures" / "PET-demo.png").is_file()


# The command


def test_the_command(
    pictures: Path, tmp_path: Path, small_prior: Prior, capfd: pytest.CaptureFixture[str]
) -> None:
    network = small_prior.network
    assert isinstance(network, ADMUNet)
    save_prior(network, tmp_path / "small.pt")
    status, out, _ = command(
        capfd,
        "benchmark",
        pictures,
        "--methods",
        "max,default:prior_share=0.5,default:prior=identity,as=none",
        "--steps",
        1,
        "--limit",
        1,
        "--noise",
        "gaussian:15",
        "--metrics",
        "EN,Qabf",
        "--prior",
        tmp_path / "small.pt",
        "--no-pictures",
        "-o",
        tmp_path / "out",
    )
    assert status == 0
    assert "none: better than max in" in out
    assert "gaussian noise of 15 of 255" in out
    assert out.startswith((tmp_path / "out" / "benchmark.txt").read_text(encoding="utf-8"))
    assert not (tmp_path / "out" / "pictures").exists()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--methods", "best"], "method 'best' is unknown"),
        (["--stretch", "maybe"], "use no, yes or both"),
        (["--metrics", "PI"], "metric 'PI' is unknown"),
        (["--noise", "salt"], "noise 'salt' is unknown"),
        (["--limit", "0"], "limit 0 is unusable"),
        (["--device", "warp"], "is not on this machine"),
        (["--convention", "mine"], "'mine' is unknown"),
        (["--prior", "none.pt"], "none.pt is not a file"),
    ],
)
def test_mistakes_end_in_one_sentence(
    pictures: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    given: list[str],
    words: str,
) -> None:
    status, out, err = command(capfd, "benchmark", pictures, "-o", tmp_path / "out", *given)
    assert status == 2
    assert words in one_sentence(err)
    assert out == ""
    assert not (tmp_path / "out").exists()


def test_pairs_of_infrared_pictures(tmp_path: Path, small_prior: Prior) -> None:
    make_picture_pair(tmp_path / "street", width=64, height=48)
    result = benchmark(tmp_path, methods="average,default:steps=1", prior=small_prior)
    assert result.modalities == ["IR"]
    assert max(row.figures["hue"] for row in result.rows) < 0.5


@pytest.mark.slow
def test_the_published_pairs(shared: Path, tmp_path: Path) -> None:
    """The plain rules give the figures that were measured on like pairs independently."""
    result = benchmark(
        shared / "data" / "aanlib_dev", methods="average,max", output_dir=tmp_path, pictures=False
    )
    assert len(result.rows) == 36
    for modality in ("CT", "PET", "SPECT"):
        won = result.better("max", "average", modality=modality)
        assert won["SD"]
        assert won["SF"]
        assert won["MI"]
        assert won["Qabf"]


def test_presets_that_differ_in_a_number_are_one_curve(tmp_path: Path, small_prior: Prior) -> None:
    methods = (
        "max,default:prior_share=0.6,default:prior_share=0.1,default:prior=identity,"
        "default:prior_share=0.3,prior=identity"
    )
    about = {m.label: {"name": m.name, **m.options} for m in parse_methods(methods)}
    assert families(about, ["max"]) == [
        ["max"],
        ["default:prior_share=0.1", "default:prior_share=0.6"],
        ["default:prior=identity"],
        ["default:prior_share=0.3,prior=identity"],
    ]
    cases = [heads("a", "CT"), heads("b", "PET")]
    benchmark(
        cases,
        methods="max,default:prior_share=0.6,default:prior_share=0.1",
        steps=1,
        noise="gaussian:10,poisson:10",
        output_dir=tmp_path,
        prior=small_prior,
        pictures=False,
    )
    for noise in ("gaussian", "poisson"):
        with Image.open(tmp_path / f"tradeoff-{noise}-10.png") as opened:
            assert np.asarray(opened.convert("L")).std() > 10
            assert opened.text["Description"] == NOTICE  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("method", "evaluations"),
    [
        ("max", 0),
        ("default:steps=3", 3),
        ("default:start=noise,steps=4", 4),
        ("default:start_timestep=300,steps=10", 3),
        ("default:start=noise,steps=8,early_stop=2.0", 5),  # a step after the first half
    ],
)
def test_calls_of_the_network_are_counted(
    method: str, evaluations: int, small_prior: Prior, tmp_path: Path
) -> None:
    cases = [heads("a", "CT"), heads("b", "CT")]
    for _ in range(2):  # computed, and then kept
        result = benchmark(
            cases, methods=method, prior=small_prior, output_dir=tmp_path, pictures=False
        )
        assert [row.evaluations for row in result.rows] == [evaluations] * 2
    label = result.methods[0]
    assert result.evaluations(label, modality="CT") == evaluations
    assert "evals" in result.text
    assert result.json["means"][0]["evaluations"] == evaluations


def test_ways_that_differ_in_steps_are_one_curve(tmp_path: Path, small_prior: Prior) -> None:
    methods = (
        "max,default:steps=2,default:solver=dpm++,steps=2,default:steps=1,"
        "default:steps=4,early_stop=0.1,default:steps=4,early_stop=0.2"
    )
    about = {m.label: {"name": m.name, **m.options} for m in parse_methods(methods)}
    assert ways(about) == {
        "max": ["max"],
        "default": ["default:steps=2", "default:steps=1"],
        "default: solver=dpm++": ["default:solver=dpm++,steps=2"],
        "default: early stop": ["default:steps=4,early_stop=0.1", "default:steps=4,early_stop=0.2"],
    }
    cases = [heads("a", "CT"), heads("b", "PET")]
    options = {"methods": "max,default:steps=1,default:steps=2", "prior": small_prior}
    benchmark(cases, output_dir=tmp_path, noise="gaussian:10", pictures=False, **options)
    with Image.open(tmp_path / "evaluations.png") as opened:
        assert np.asarray(opened.convert("L")).std() > 10
        assert opened.text["Description"] == NOTICE  # type: ignore[attr-defined]
    benchmark(cases, methods="max,average", output_dir=tmp_path / "plain", pictures=False)
    assert not (tmp_path / "plain" / "evaluations.png").exists()
