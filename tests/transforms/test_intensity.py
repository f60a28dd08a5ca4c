"""Normalization by modality, with bias correction and landmarks."""

from __future__ import annotations

import pytest
import torch
from head_phantom import head, radius, volume
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor, decollate_batch, list_data_collate
from monai.transforms import Compose, LoadImaged

from monai_ddfm.errors import InputError
from monai_ddfm.modalities import Modality
from monai_ddfm.transforms.bias import correct_bias
from monai_ddfm.transforms.histogram import learn_landmarks
from monai_ddfm.transforms.intensity import NormalizeByModality, NormalizeByModalityd
from monai_ddfm.transforms.windows import CT_WINDOWS
from monai_ddfm.utils.reports import reports_of


def report(result: MetaTensor) -> dict:
    return reports_of(result)["intensity"]


seeds = st.integers(0, 2**31 - 1)


# --- the transform

CASES = [("MR", None), ("MR", "1%..99%"), ("CT", None), ("CT", "brain"), ("CT", "100/300")]
CASES += [("PET", None), ("PET", "0..600"), ("SPECT", None), ("SPECT", "50%..99%")]


@pytest.mark.parametrize(("modality", "window"), CASES)
@given(seed=seeds)
@settings(max_examples=5, deadline=None)
def test_bounded_monotone_invertible(modality, window, seed):
    scan = head(seed, noise=20.0)
    transform = NormalizeByModality(modality, window=window)
    result = transform(scan)
    assert result.dtype == torch.float32
    assert result.shape == scan.shape
    assert result.min() >= -1
    assert result.max() <= 1
    order = scan.flatten().argsort()
    assert (result.flatten()[order].diff() >= 0).all()
    said = report(result)
    inside = (scan > said["lower"]) & (scan < said["upper"])
    restored = transform.inverse(result)
    largest = max(abs(said["lower"]), abs(said["upper"]))
    assert (restored - scan)[inside].abs().max() <= 1e-6 * largest
    assert said["clipped_below"] == pytest.approx(float((scan < said["lower"]).float().mean()))
    assert said["clipped_above"] == pytest.approx(float((scan > said["upper"]).float().mean()))
    assert said["offset"] == pytest.approx((said["lower"] + said["upper"]) / 2)
    assert said["scale"] == pytest.approx((said["upper"] - said["lower"]) / 2)
    assert said["modality"] == modality


@pytest.mark.parametrize("options", [{}, {"window": "1%..99%"}])
@given(gain=st.floats(1e-3, 1e3), shift=st.floats(-1, 1), seed=st.integers(0, 20))
@settings(max_examples=15, deadline=None)
def test_units_of_mr_do_not_matter(options, gain, shift, seed):
    scan = head(seed, noise=10.0)
    normalize = NormalizeByModality("MR", **options)
    other = volume(scan.as_tensor()[0].double() * gain + shift * gain * 1000)
    difference = (normalize(scan) - normalize(other)).abs()
    assert difference.max() < 2e-3


def test_air_of_mr_is_black():
    outside = radius() > 1.02
    noiseless = NormalizeByModality("MR")(head())
    assert (noiseless[0][outside] == -1).all()
    noisy = NormalizeByModality("MR")(head(noise=15.0))
    assert (noisy[0][outside] == -1).float().mean() > 0.97
    # The darkest tissue is still above black.
    ventricle = noisy[0][radius() < 0.18]
    assert (ventricle > -1).float().mean() > 0.95


def test_default_window_of_ct_shows_brain_and_bone():
    hounsfield = torch.tensor([-1000.0, -80, 8, 30, 40, 70, 400, 900, 1400, 3000])
    shown = NormalizeByModality("CT")(volume(hounsfield.reshape(1, 1, 10, 1))).flatten()
    air, fat, csf, white, grey, blood, diploe, bone, cortex, metal = shown.tolist()
    assert air == fat == -1
    assert metal == 1
    assert -1 < csf < white < grey < blood < 0 < diploe < bone < cortex < 1
    assert blood - grey > 0.2


def test_named_windows_are_center_and_width():
    scan = volume(torch.linspace(-1000, 3000, 200).reshape(10, 20, 1))
    for name, (center, width) in CT_WINDOWS.items():
        named = NormalizeByModality("CT", window=name)(scan)
        numbers = NormalizeByModality("CT", window=f"{center:g}/{width:g}")(scan)
        torch.testing.assert_close(named.as_tensor(), numbers.as_tensor())
        expected = ((scan.as_tensor() - center) / (width / 2)).clamp(-1, 1)
        torch.testing.assert_close(named.as_tensor(), expected, atol=1e-5, rtol=0)


def test_a_window_in_suv_ends_at_its_bounds_and_tells_negative_uptake():
    uptake = volume(torch.tensor([0.0, 2.5, 5, 10, 12, -1]).reshape(6, 1, 1))
    result = NormalizeByModality("PET", window="0..10")(uptake)
    assert result.flatten().tolist() == pytest.approx([-1, -0.5, 0, 1, 1, -1])
    assert "negative" in report(result)["warnings"][0]


def test_spect_relative_to_maximum_and_to_cerebellum():
    counts = volume(torch.tensor([0.0, 50, 100, 200]).reshape(4, 1, 1))
    result = NormalizeByModality("SPECT")(counts)
    assert result.flatten().tolist() == pytest.approx([-1, -0.5, 0, 1])
    mask = torch.tensor([0, 1, 1, 0]).reshape(1, 4, 1, 1)
    transform = NormalizeByModalityd("moving", "NM", window="cerebellum", mask_key="mask")
    relative = transform({"moving": counts, "mask": mask})["moving"]
    assert report(relative)["upper"] == pytest.approx(1.2 * 75)
    assert relative.flatten().tolist() == pytest.approx([-1, 100 / 90 - 1, 1, 1])
    with pytest.raises(InputError, match=r"scan.nii.gz needs a mask"):
        NormalizeByModality("SPECT", window="cerebellum")(counts)
    with pytest.raises(InputError, match=r"scan.nii.gz has no uptake inside the mask"):
        NormalizeByModality("SPECT", window="cerebellum")(counts, torch.zeros(1, 4, 1, 1))


@pytest.mark.parametrize("white", [1.0, 255.0, 65535.0])
def test_color_becomes_luminance(white):
    rgb = torch.tensor([[0.0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 0, 1], [0.5, 0.5, 0.5]]) * white
    scan = volume(rgb.T.reshape(3, 5, 1, 1))
    transform = NormalizeByModality("SPECT")
    result = transform(scan)
    assert result.shape == (1, 5, 1, 1)
    expected = [-1, 1, 2 * 0.299 - 1, 2 * 0.114 - 1, 0]
    assert result.flatten().tolist() == pytest.approx(expected, abs=1e-6)
    assert report(result)["luminance_of_color"]
    restored = transform.inverse(result).flatten() / white
    assert restored.tolist() == pytest.approx([0, 1, 0.299, 0.114, 0.5], abs=1e-6)


def test_nyul_landmarks_bring_histograms_together():
    scans = [head(seed, noise=10.0)[0].as_tensor() for seed in range(3)]
    landmarks = learn_landmarks(scans)
    assert len(landmarks) == 11
    assert (landmarks[0], landmarks[-1]) == (-1, 1)
    # The same head with another contrast curve.
    curved = volume(800 * (scans[0] / 800) ** 1.6)
    transform = NormalizeByModality("MR", landmarks=landmarks)
    with_landmarks = transform(curved)
    target = NormalizeByModality("MR")(volume(scans[0]))
    without = NormalizeByModality("MR")(curved)
    before = (without - target).abs().mean()
    assert (with_landmarks - target).abs().mean() < 0.25 * before
    restored = transform.inverse(with_landmarks)
    inside = with_landmarks.abs() < 1
    torch.testing.assert_close(restored[inside], curved[inside], rtol=1e-5, atol=1e-2)
    for wrong in ([-1, 0, 1], list(reversed(landmarks)), [0.0] * 11):
        with pytest.raises(InputError, match="11 values that rise strictly"):
            NormalizeByModality("MR", landmarks=wrong)
    with pytest.raises(InputError, match="at least one"):
        learn_landmarks([])


def test_bias_correction_flattens_a_known_field():
    generator = torch.Generator().manual_seed(1)
    shape = (64, 64, 32)
    grid = torch.meshgrid(*[torch.linspace(-1, 1, n) for n in shape], indexing="ij")
    inside = sum(axis**2 for axis in grid) < 0.8
    tissue = torch.where(grid[0].mul(9).sin() * grid[1].mul(9).sin() > 0, 500.0, 300.0)
    truth = torch.where(inside, tissue + 5 * torch.randn(shape, generator=generator), 0.0)
    biased = truth * torch.exp(0.35 * grid[0] - 0.25 * grid[1])
    corrected = correct_bias(biased, spacing=(1, 1, 1), shrink_factor=3, iterations=(25, 25))
    short = [
        correct_bias(biased, spacing=(1, 1, 1), shrink_factor=3, iterations=(3, 3))
        for _ in range(2)
    ]
    assert short[0].equal(short[1])
    assert not short[0].equal(biased)

    def unevenness(image: torch.Tensor) -> float:
        ratio = (image / truth)[inside]
        return float(ratio.std() / ratio.mean())

    assert unevenness(corrected) < 0.35 * unevenness(biased)
    assert corrected[inside].mean() == pytest.approx(float(biased[inside].mean()), rel=0.02)


def test_bias_correction_is_reported_and_for_mr_only():
    result = NormalizeByModality("MR", bias_correction=True)(head(noise=5.0))
    assert report(result)["bias_correction"] == "N4"
    assert report(NormalizeByModality("MR")(head()))["bias_correction"] == "none"
    with pytest.raises(InputError, match="for MR; leave them out for PET"):
        NormalizeByModality("PET", bias_correction=True)
    with pytest.raises(InputError, match="shrink factor of N4 is 0"):
        NormalizeByModality("MR", bias_correction=True, shrink_factor=0)


# --- inside MONAI


def test_dictionary_form_leaves_everything_else_alone():
    scan, other = head(noise=5.0), head(1)
    before = scan.clone()
    transform = NormalizeByModalityd(("fixed", "absent"), "MR", allow_missing_keys=True)
    case = transform({"fixed": scan, "moving": other})
    assert case["moving"] is other
    assert scan.equal(before)
    assert not reports_of(scan)
    assert case["fixed"].meta["filename_or_obj"] == "scan.nii.gz"
    torch.testing.assert_close(case["fixed"].affine, scan.affine)
    torch.testing.assert_close(
        case["fixed"].as_tensor(), NormalizeByModality("MR")(scan).as_tensor()
    )


def test_inverse_survives_a_batch():
    scans = [head(seed, noise=5.0) for seed in range(2)]
    transform = Compose([NormalizeByModalityd("fixed", "MR", window="0..1000")])
    batch = list_data_collate([transform({"fixed": scan}) for scan in scans])
    for scan, case in zip(scans, decollate_batch(batch), strict=True):
        assert report(case["fixed"])["window"] == "0..1000"
        restored = transform.inverse(case)["fixed"]
        inside = (scan > 0) & (scan < 1000)
        torch.testing.assert_close(restored[inside], scan[inside], atol=1e-3, rtol=1e-5)
        assert not restored.applied_operations


def test_plain_arrays_and_two_dimensions_are_taken():
    plane = head(noise=5.0)[0, :, :, 5].numpy()[None]
    result = NormalizeByModality("MR")(plane)
    assert isinstance(result, MetaTensor)
    assert result.shape == plane.shape
    assert NormalizeByModality("MR", bias_correction=True)(plane).isfinite().all()


def test_a_real_subject_loses_its_air_and_clips_next_to_nothing(shared):
    folder = shared / "data" / "mr_pet_subject"
    case = LoadImaged(("fixed", "moving"), ensure_channel_first=True, image_only=True)(
        {"fixed": folder / "t1.nii.gz", "moving": folder / "pet_moved.nii.gz"}
    )
    case = NormalizeByModalityd("fixed", "MR")(case)
    case = NormalizeByModalityd("moving", "PET")(case)
    fixed, moving = case["fixed"], case["moving"]
    # About 60 percent of the field of view is air, and its noise is gone.
    assert 0.5 < float((fixed == -1).float().mean()) < 0.7
    assert report(fixed)["clipped_above"] < 0.005
    assert report(moving)["lower"] == 0
    assert report(moving)["clipped_above"] < 0.001
    assert moving.mean() < fixed.mean() < 0


@pytest.mark.gpu
@pytest.mark.parametrize("modality", list(Modality))
def test_gpu_gives_the_same(modality):
    scan = head(noise=10.0)
    transform = NormalizeByModality(modality)
    here, there = transform(scan), transform(scan.cuda())
    assert there.is_cuda
    torch.testing.assert_close(there.cpu().as_tensor(), here.as_tensor(), atol=1e-5, rtol=0)
    assert transform.inverse(there).is_cuda
