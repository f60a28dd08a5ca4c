"""The benchmark by detection: scenes, rows, efficiencies of plain rules, and what is kept."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmark_makers import heads

from monai_ddfm.apps.benchmark import Case, LesionResult, Noise, benchmark_lesions
from monai_ddfm.apps.benchmark.lesions.rows import parse_rows, show, views_of
from monai_ddfm.apps.benchmark.lesions.scenes import make_scenes
from monai_ddfm.errors import InputError
from monai_ddfm.metrics.observer import SIGNALS, Lesion
from monai_ddfm.transforms.color import PseudoColor
from monai_ddfm.visualize.color_styles import ColorStyle

pytestmark = pytest.mark.usefixtures("one_thread_throughout")

SIZE = (100, 96)
ROWS = "average,max,overlay:alpha=0.3,overlay:alpha=0.7,mri-luminance,both"


def flat_pair(name: str = "flat", modality: str = "PET") -> Case:
    """A bright and a dark source of little texture, inside a round head."""
    generator = torch.Generator().manual_seed(0)
    y, x = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in SIZE), indexing="ij")
    head = (x**2 + y**2 < 0.9).float()
    level = torch.tensor([0.75, 0.35])[:, None, None]
    image = (level + 0.02 * torch.randn(2, *SIZE, generator=generator)).clamp(0, 1) * head
    return Case(name=name, modality=modality, image=image[None], fixed=image[:1], moving=image[1:])


@pytest.fixture(scope="module")
def result() -> LesionResult:
    cases = [flat_pair(), flat_pair(modality="CT")]
    return benchmark_lesions(cases, methods=ROWS, count=40, bootstrap=20, device="cpu")


def test_plain_rules_lose_what_they_must(result: LesionResult) -> None:
    average = result.find("average", modality="CT").efficiency
    assert average[:4] == pytest.approx((0.5,) * 4, abs=0.2)
    assert average[4:6] == pytest.approx((1, 1), abs=0.4)
    assert average[6:] == pytest.approx((0, 0), abs=0.05)
    # The fixed source is the brighter one by more than a lesion: the maximum shows nothing else.
    maximum = result.find("max", modality="CT").efficiency
    assert maximum[0:2] == pytest.approx((1, 1), abs=1e-6)
    assert maximum[2:4] == pytest.approx((0, 0), abs=0.01)
    both = result.find("both", modality="CT")
    assert min(both.efficiency) > 0.95
    assert both.summary[1] > result.find("average", modality="CT").summary[1]


def test_color_shows_what_its_luminance_does_not(result: LesionResult) -> None:
    assert [table[:2] for table in result.tables()] == [
        ("PET", "gray"),
        ("PET", "color"),
        ("CT", "gray"),
    ]
    overlays = [
        result.find(f"overlay:alpha={alpha}", modality="PET", view="color").efficiency
        for alpha in (0.3, 0.7)
    ]
    # More of the one source is less of the other.
    assert overlays[0][0] > overlays[1][0]
    assert overlays[0][2] < overlays[1][2]
    kept = result.find("mri-luminance", modality="PET", view="color").efficiency
    gray = result.find("max", modality="PET").efficiency
    assert kept[2] > 10 * max(gray[2], 0.001)
    with pytest.raises(KeyError):
        result.find("mri-luminance", modality="PET", view="gray")


def test_half_and_double_internal_noise_are_measured_too(result: LesionResult) -> None:
    assert result.levels == [0.025, 0.05, 0.1]
    found = [
        result.find("average", modality="CT", internal_noise=level).found[0]
        for level in result.levels
    ]
    assert found == sorted(found, reverse=True)
    assert len(set(found)) == 3


def test_tables_hold_every_figure(result: LesionResult) -> None:
    text = result.text
    assert text.endswith("research use only - not for diagnosis\n")
    assert "CT, gray: efficiency of finding a lesion 7 mm, contrast 0.2; 40 places" in text
    assert "d' in the better source" in text
    rows = list(csv.DictReader(io.StringIO(result.csv)))
    assert len(rows) == len(result.rows) == 3 * (3 + 6 + 3)
    first = next(r for r in rows if r["method"] == "max" and r["internal_noise"] == "0.05")
    assert float(first["efficiency fixed +"]) == pytest.approx(
        float(first["d fixed +"]) / float(first["d source fixed +"]), abs=1e-3
    )
    assert float(first["worst of 8 low"]) <= float(first["worst of 8 high"])
    document = result.json
    assert document["signals"] == list(SIGNALS)
    assert len(document["rows"]) == len(result.rows)
    induced = document["settings"]["induced_noise"]
    assert induced["CT"].keys() == {"fixed alone", "moving alone"}
    assert 0.001 < induced["CT"]["fixed alone"] < 1
    assert document["settings"]["slices"] == {"PET flat": 40, "CT flat": 40}
    assert document["settings"]["methods"]["overlay:alpha=0.3"] == {"name": "overlay", "alpha": 0.3}


def test_the_seed_decides_and_the_lesion_does_not_move_the_places() -> None:
    cases = [flat_pair()]
    scenes = [make_scenes(cases, count=30, slices=1, seed=seed)[0] for seed in (0, 0, 1)]
    assert scenes[0].places == scenes[1].places != scenes[2].places
    options = {"methods": "average", "count": 25, "bootstrap": 10, "device": "cpu"}
    kinds = [Lesion(contrast=0.1), Lesion.typical("vessel")]
    first, again = (benchmark_lesions(cases, lesions=kinds, **options) for _ in range(2))
    assert first.csv == again.csv
    assert first.csv != benchmark_lesions(cases, lesions=kinds, seed=1, **options).csv
    assert len({row.lesion for row in first.rows}) == 2


def test_lesions_go_in_before_the_noise_and_the_noise_is_the_same() -> None:
    scene = make_scenes([flat_pair()], count=25, slices=1, seed=0)[0]
    noise, lesion = Noise("gaussian", 5), Lesion(contrast=0.1)
    plain = scene.without(noise)
    stack = scene.with_lesions(scene.groups[0], lesion, noise)
    place = scene.groups[0][0]
    change = (stack - plain)[:, :, place.row, place.column]
    signs = torch.tensor(list(SIGNALS.values()), dtype=torch.float32)
    torch.testing.assert_close(change, 0.1 * signs, atol=1e-5, rtol=0)
    assert float((plain - scene.without(None)).abs().max()) > 0.02
    # Where there is no lesion, nothing is different.
    assert torch.equal(stack[:, :, 0, 0], plain[:, :, 0, 0].expand(8, -1))


def test_noise_makes_another_table() -> None:
    options = {"methods": "average", "count": 25, "bootstrap": 0, "device": "cpu"}
    found = benchmark_lesions([flat_pair(modality="CT")], noise="gaussian:15", **options)
    assert [table[2] for table in found.tables()] == ["", "gaussian:15"]
    quiet = found.find("average", modality="CT")
    noisy = found.find("average", modality="CT", noise="gaussian:15")
    assert noisy.reference[0] < quiet.reference[0]
    assert "gaussian:15 noise in the sources" in found.text
    assert "nan" not in found.text


def test_volumes_are_looked_at_slice_by_slice_in_millimeters() -> None:
    volume = heads("v", "CT", size=(96, 100, 20))
    case = Case(
        name="v",
        modality="CT",
        image=volume.image,
        fixed=volume.fixed,
        moving=volume.moving,
        spacing=(1.0, 2.0, 4.0),
    )
    scenes = make_scenes([case], count=30, slices=3, seed=0)
    assert len(scenes) == 3
    assert sum(len(scene.places) for scene in scenes) == 30
    assert all(scene.case.spacing == (1.0, 2.0) for scene in scenes)
    assert all(scene.case.image.shape == (1, 2, 96, 100) for scene in scenes)
    group = scenes[0].groups[0]
    change = scenes[0].with_lesions(group, Lesion(width=12, contrast=0.1), None)[0, 0]
    shape = (change - scenes[0].case.image[0, 0])[:, group[0].column].abs() > 0.05
    across = (change - scenes[0].case.image[0, 0])[group[0].row].abs() > 0.05
    assert int(shape.sum()) == pytest.approx(12, abs=2)
    assert int(across.sum()) == pytest.approx(6, abs=2)


def test_ways_of_showing_both_sources() -> None:
    sources = torch.rand(2, 2, 40, 44, generator=torch.Generator().manual_seed(0))
    table = torch.stack([PseudoColor()(s[1:] * 2 - 1).as_tensor() for s in sources])
    overlay, kept, both = parse_rows("overlay:alpha=0.25,mri-luminance,both")
    (mixed,) = show(overlay, sources, None, view="color", modality="PET")
    torch.testing.assert_close(mixed, 0.75 * sources[:, :1] + 0.25 * table)
    (tinted,) = show(kept, sources, None, view="color", modality="PET")
    weights = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    torch.testing.assert_close((tinted * weights).sum(1), sources[:, 0], atol=1e-5, rtol=0)
    gray = show(both, sources, None, view="gray", modality="PET")
    assert [image.shape[1] for image in gray] == [1, 1]
    assert [i.shape[1] for i in show(both, sources, None, view="color", modality="PET")] == [1, 3]
    assert views_of("CT") == views_of("IR") == ("gray",)


def test_a_method_is_shown_in_another_style_of_color() -> None:
    sources = torch.rand(1, 2, 20, 24, generator=torch.Generator().manual_seed(0))
    plain, styled, named = parse_rows(
        "average,average:style=perceptual,pyramid:style=overlay,levels=3,as=own"
    )
    assert (plain.views, styled.views) == (("gray", "color"), ("color",))
    assert (styled.label, styled.style) == ("average:style=perceptual", "perceptual")
    assert (named.label, named.style) == ("own", "overlay")
    assert named.method is not None
    assert named.method.options == {"levels": 3}
    fused = sources.mean(1, keepdim=True)
    (shown,) = show(styled, sources, fused, view="color", modality="PET")
    color = PseudoColor()(sources[0, 1:] * 2 - 1).as_tensor()
    expected = ColorStyle(name="perceptual").join(fused[0], color)
    torch.testing.assert_close(shown[0], expected)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("default:style=rainbow", "color style 'rainbow' is unknown; use one of mixed, ycbcr"),
        ("overlay:alpha=2", "alpha=2 of an overlay is unusable"),
        ("overlay:alpha=red", "alpha=red of an overlay is unusable"),
        ("overlay:beta=0.3", "method 'overlay' has no option 'beta'"),
        ("both:alpha=0.3", "method 'both' has no option 'alpha'"),
        ("both,both", "method 'both' is given twice"),
        ("best", "method 'best' is unknown"),
        ("", "no method is named"),
    ],
)
def test_refuses_unknown_rows(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        parse_rows(text)


def test_what_is_finished_is_not_done_again(tmp_path: Path) -> None:
    calls = []

    def counted(image: torch.Tensor) -> torch.Tensor:
        calls.append(len(image))
        return image.mean(1, keepdim=True)

    options = {"count": 25, "bootstrap": 10, "device": "cpu", "output_dir": tmp_path}
    case = flat_pair(modality="CT")
    first = benchmark_lesions([case], methods="average,both", **options)
    kept = sorted((tmp_path / "runs" / "lesions").rglob("*.npz"))
    assert len(kept) == 4
    times = [path.stat().st_mtime_ns for path in kept]
    again = benchmark_lesions([case], methods="average,both,max", internal_noise=0.2, **options)
    assert [path.stat().st_mtime_ns for path in kept] == times
    assert len(list((tmp_path / "runs" / "lesions").rglob("*.npz"))) == 5
    # Another internal noise needs no fusion.
    found = [r.find("average", modality="CT", internal_noise=0.1) for r in (first, again)]
    assert found[0].found == found[1].found
    # A function has no name by which its results could be known.
    for _ in range(2):
        benchmark_lesions([case], methods={"mine": counted}, **options)
    assert len(list((tmp_path / "runs" / "lesions").rglob("*.npz"))) == 5
    assert len(calls) % 2 == 0
    assert max(calls) <= 4
    assert (tmp_path / "lesions-lesion-7-0.2.png").stat().st_size > 10_000


def test_ways_in_color_need_color() -> None:
    case, options = flat_pair(modality="CT"), {"count": 25, "bootstrap": 0, "device": "cpu"}
    with pytest.raises(InputError, match="overlay needs color, which CT has not"):
        benchmark_lesions([case], methods="overlay,mri-luminance", **options)
    found = benchmark_lesions([case], methods="overlay,average", **options)
    assert {row.method for row in found.rows} == {"average"}


def test_a_damaged_method_is_named() -> None:
    def wrong(image: torch.Tensor) -> torch.Tensor:
        return image

    with pytest.raises(InputError, match=r"gave \[1, 2, 100, 96\] instead of \[1, 1, 100, 96\]"):
        benchmark_lesions([flat_pair()], methods={"wrong": wrong}, count=25, device="cpu")


def test_a_uniform_source_is_no_trouble() -> None:
    case = flat_pair(modality="CT")
    image = case.image.clone()
    image[0, 1] = 0
    dark = Case(name="d", modality="CT", image=image, fixed=image[0, :1], moving=image[0, 1:])
    options = {"count": 25, "bootstrap": 10, "device": "cpu"}
    found = benchmark_lesions([dark], methods="average", **options).find("average", modality="CT")
    # What is dark cannot be put into black: nothing to find, and no efficiency.
    assert found.reference[3] == 0
    assert math.isnan(found.efficiency[3])
    assert np.isfinite(found.efficiency[:3]).all()
