"""The table of all metrics: conventions, ranges, color, volumes, and figures on real pairs."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from PIL import Image
from skimage.metrics import structural_similarity as skimage_ssim
from torch import Tensor
from torchmetrics.functional.image import visual_information_fidelity as torchmetrics_vif

from monai_ddfm.errors import InputError
from monai_ddfm.likelihoods.baselines import fuse_baseline
from monai_ddfm.metrics import METRICS, PUBLISHED_METRICS, Planes, evaluate_fusion
from monai_ddfm.utils.color import luminance

SUMMED = ("NMI", "VIF", "SSIM-255", "MS-SSIM")
ALIKE = ("EN", "SD", "SF", "AG", "CC", "SCD", "FMI")


def pictures(seed: int = 0, *, batch: int = 2, side: int = 48) -> tuple[Tensor, Tensor]:
    """8-bit fused images and sources in [0, 1] with a black border."""
    generator = torch.Generator().manual_seed(seed)
    sources = torch.rand(batch, 2, side, side, generator=generator, dtype=torch.float64)
    sources[..., 8:20, 8:40] = sources[..., 8:20, 8:40] * 0.2 + 0.5
    sources[..., :4, :] = 0
    sources = (sources * 255).round() / 255
    fused = (sources.mean(dim=1, keepdim=True) * 255).round() / 255
    return fused, sources


def test_evaluator_figures_against_other_programs() -> None:
    """MI in nats and summed, VIF summed, SSIM summed with the range of the float type."""
    fused, sources = pictures()
    found = evaluate_fusion(fused, sources)
    for number in range(2):
        f = (fused[number, 0] * 255).round().numpy()
        both = (sources[number] * 255).round().numpy()
        mi = ssim = modern = 0.0
        for source in both:
            joint = np.histogram2d(f.ravel(), source.ravel(), bins=(range(257), range(257)))[0]
            joint /= joint.sum()
            product = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
            mi += float((joint[joint > 0] * np.log(joint[joint > 0] / product[joint > 0])).sum())
            ssim += skimage_ssim(f, source, data_range=2)
            modern += skimage_ssim(f, source, data_range=255)
        vif = sum(
            float(torchmetrics_vif(preds=torch.tensor(f)[None, None], target=source[None, None]))
            for source in torch.from_numpy(both)
        )
        assert found["MI"][number].item() == pytest.approx(mi, abs=1e-9)
        assert found["SSIM"][number].item() == pytest.approx(ssim, abs=1e-7)
        assert found["SSIM-255"][number].item() == pytest.approx(modern, abs=1e-7)
        assert found["VIF"][number].item() == pytest.approx(vif, abs=1e-7)
        error = np.mean([(f - source) ** 2 for source in both])
        psnr = 10 * math.log10(f.max() ** 2 / error)
        assert found["PSNR"][number].item() == pytest.approx(psnr, abs=1e-9)


def test_conventions_differ_by_sum_and_unit_on_8_bit_pictures() -> None:
    fused, sources = pictures()
    evaluator = evaluate_fusion(fused, sources)
    mean = evaluate_fusion(fused, sources, convention="mean")
    for name in ALIKE:
        torch.testing.assert_close(evaluator[name], mean[name], rtol=1e-6, atol=1e-6)
    for name in SUMMED:
        torch.testing.assert_close(evaluator[name], 2 * mean[name])
    torch.testing.assert_close(evaluator["MI"], 2 * math.log(2) * mean["MI"])
    torch.testing.assert_close(evaluator["Qabf"], mean["Qabf"], rtol=0, atol=6e-4)
    assert bool((evaluator["PSNR"] <= mean["PSNR"]).all())


def test_only_the_evaluator_rounds() -> None:
    fused, sources = pictures()
    shifted = fused + 0.3 / 255
    exact, moved = (evaluate_fusion(image, sources) for image in (fused, shifted))
    for name in METRICS:
        assert torch.equal(exact[name], moved[name]), name
    mean = [evaluate_fusion(image, sources, convention="mean") for image in (fused, shifted)]
    assert not torch.equal(mean[0]["PSNR"], mean[1]["PSNR"])


@pytest.mark.parametrize(
    ("scale", "offset", "data_range"), [(255, 0, 255), (2, -1, (-1, 1)), (4095, 0, 4095.0)]
)
def test_the_range_is_only_a_matter_of_units(
    scale: float, offset: float, data_range: float | tuple[float, float]
) -> None:
    fused, sources = pictures()
    expected = evaluate_fusion(fused, sources)
    found = evaluate_fusion(fused * scale + offset, sources * scale + offset, data_range=data_range)
    for name in METRICS:
        torch.testing.assert_close(found[name], expected[name])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_floating_types_and_metatensors_give_the_same(dtype: torch.dtype) -> None:
    fused, sources = pictures()
    expected = evaluate_fusion(fused, sources)
    found = evaluate_fusion(MetaTensor(fused.to(dtype)), MetaTensor(sources.to(dtype)))
    for name in METRICS:
        assert type(found[name]) is Tensor
        torch.testing.assert_close(found[name], expected[name])


def test_a_batch_equals_its_members() -> None:
    fused, sources = pictures(batch=11)
    together = evaluate_fusion(fused, sources)
    for number in (0, 10):
        alone = evaluate_fusion(fused[number, None], sources[number, None])
        for name in METRICS:
            torch.testing.assert_close(together[name][number, None], alone[name])


def test_color_is_judged_by_its_luminance() -> None:
    _, sources = pictures()
    rgb = torch.cat((sources, sources[:, :1].flip(-1)), dim=1)
    found = evaluate_fusion(rgb, sources, metrics=PUBLISHED_METRICS)
    expected = evaluate_fusion(luminance(rgb), sources, metrics=PUBLISHED_METRICS)
    assert list(found) == list(PUBLISHED_METRICS)
    for name in PUBLISHED_METRICS:
        assert torch.equal(found[name], expected[name])


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -3])
def test_a_volume_has_the_mean_of_its_slices(axis: int) -> None:
    generator = torch.Generator().manual_seed(3)
    volume = torch.rand(2, 3, 46, 46, 46, generator=generator)
    take = [slice(None)] * 5
    take[axis % 3 + 2] = slice(0, 3)
    volume = volume[tuple(take)]
    found = evaluate_fusion(volume[:, :1], volume[:, 1:], axis=axis)
    slices = volume.movedim(axis % 3 + 2, 0)
    each = [evaluate_fusion(piece[:, :1], piece[:, 1:]) for piece in slices]
    for name in METRICS:
        torch.testing.assert_close(found[name], torch.stack([one[name] for one in each]).mean(0))


def test_empty_slices_of_a_volume_do_not_count() -> None:
    fused, sources = pictures(batch=3)
    expected = evaluate_fusion(fused, sources)
    blank = torch.zeros(1, 1, 48, 48)
    volume = torch.cat((blank, fused, blank)).movedim(0, -1).unsqueeze(0).squeeze(2)
    pair = torch.cat((blank.expand(1, 2, -1, -1), sources, blank.expand(1, 2, -1, -1)))
    found = evaluate_fusion(volume, pair.movedim(0, -1).unsqueeze(0))
    for name in METRICS:
        torch.testing.assert_close(found[name], expected[name].mean(0, keepdim=True))
    nothing = torch.zeros(1, 3, 48, 48, 2)
    assert evaluate_fusion(nothing[:, :1], nothing[:, 1:])["SSIM"].isnan().all()


def test_sources_are_given_as_two_or_as_channels() -> None:
    fused, sources = pictures()
    fixed, moving = MetaTensor(sources[:, :1]), sources[:, 1:]
    together = evaluate_fusion(fused, sources, metrics=["SD", "Qabf", "SCD"])
    for apart in (
        evaluate_fusion(fused, fixed, moving, metrics=["SD", "Qabf", "SCD"]),
        evaluate_fusion(fused, fixed=fixed, moving=moving, metrics=["SD", "Qabf", "SCD"]),
        evaluate_fusion(fused, sources=sources, metrics=["SD", "Qabf", "SCD"]),
    ):
        assert all(torch.equal(apart[name], together[name]) for name in together)


def test_sources_that_are_missing_or_given_twice_are_refused() -> None:
    fused, sources = pictures()
    fixed, moving = sources[:, :1], sources[:, 1:]
    with pytest.raises(InputError, match="give the sources as fixed and moving"):
        evaluate_fusion(fused)
    with pytest.raises(InputError, match="give the sources as fixed and moving"):
        evaluate_fusion(fused, fixed, sources=sources)
    with pytest.raises(InputError, match="moving goes with fixed"):
        evaluate_fusion(fused, moving=moving)
    with pytest.raises(InputError, match=r"one channel.* one shape"):
        evaluate_fusion(fused, sources, moving)
    with pytest.raises(InputError, match=r"one channel.* one shape"):
        evaluate_fusion(fused, fixed, moving[..., :40])


def test_what_is_wrong_is_said() -> None:
    fused, sources = pictures()
    with pytest.raises(InputError, match="metric 'SSMI' is unknown"):
        evaluate_fusion(fused, sources, metrics=["SSMI"])
    with pytest.raises(InputError, match="convention 'sum'"):
        evaluate_fusion(fused, sources, convention="sum")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="values from 0 to 255, but data_range says 0 to 1"):
        evaluate_fusion(fused, sources * 255)
    with pytest.raises(InputError, match="NaN"):
        evaluate_fusion(fused * math.nan, sources)
    with pytest.raises(InputError, match="sources must have the shape"):
        evaluate_fusion(fused, sources[:1])
    with pytest.raises(InputError, match="fused image must have the shape"):
        evaluate_fusion(fused[0], sources[0])
    with pytest.raises(InputError, match="ascending"):
        evaluate_fusion(fused, sources, data_range=(1, 0))
    with pytest.raises(InputError, match="slice axis 3"):
        Planes.of(fused[..., None], sources[..., None], axis=3)


# What the maximum scores on the 136 pairs that papers use, with their evaluator.
ON_OTHER_PAIRS = {
    "CT": {"SD": 84.2, "SF": 33.5, "MI": 3.63, "SCD": 1.50, "VIF": 0.64, "Qabf": 0.63},
    "PET": {"SD": 75.5, "SF": 27.3, "MI": 3.04, "SCD": 1.70, "VIF": 0.92, "Qabf": 0.71},
    "SPECT": {"SD": 59.5, "SF": 18.4, "MI": 2.88, "SCD": 1.33, "VIF": 0.74, "Qabf": 0.69},
}


@pytest.mark.parametrize("modality", ["CT", "PET", "SPECT"])
def test_the_maximum_of_real_pairs_scores_as_it_does_elsewhere(shared: Path, modality: str) -> None:
    """Other pairs differ in content; a wrong unit, a sum for a mean or a range would not fit."""
    folder = shared / "data" / "aanlib_dev" / f"MRI-{modality}"
    names = sorted(path.name for path in (folder / "MRI").glob("*.png"))
    images = [
        [np.asarray(Image.open(folder / kind / name).convert("L")) for kind in ("MRI", modality)]
        for name in names
    ]
    sources = torch.from_numpy(np.array(images)).double()
    fused = fuse_baseline(sources / 255, method="max") * 255
    expected = ON_OTHER_PAIRS[modality]
    found = evaluate_fusion(fused, sources, data_range=255, metrics=list(expected))
    for name, value in expected.items():
        tolerance = {"SF": 0.55, "MI": 0.35}.get(name, 0.2)
        assert found[name].mean().item() == pytest.approx(value, rel=tolerance), name


@pytest.mark.gpu
def test_a_gpu_gives_the_same() -> None:
    fused, sources = pictures(side=200)
    expected = evaluate_fusion(fused, sources)
    found = evaluate_fusion(fused.cuda(), sources.cuda())
    for name in METRICS:
        assert found[name].device.type == "cuda"
        torch.testing.assert_close(found[name].cpu(), expected[name])
