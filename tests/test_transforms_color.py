"""Pseudo-color, split and merge, and the colored fusion of each modality."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from monai.transforms import Compose, Flipd
from skimage.color import rgb2hsv, rgb2ycbcr

from monai_ddfm.color import COLOR_TABLES, color_table, luminance
from monai_ddfm.errors import InputError
from monai_ddfm.reports import reports_of
from monai_ddfm.transforms.color import (
    MergeChroma,
    MergeChromad,
    PseudoColor,
    PseudoColord,
    SplitLuminanceChroma,
    SplitLuminanceChromad,
)
from monai_ddfm.transforms.colorize import ColorizeFusiond
from monai_ddfm.transforms.intensity import NormalizeByModality
from monai_ddfm.workflow import fuse

SHAPE = (9, 11, 4)


def random(channels: int, seed: int = 0) -> MetaTensor:
    generator = torch.Generator().manual_seed(seed)
    affine = torch.diag(torch.tensor([1.0, 1.0, 3.0, 1.0], dtype=torch.float64))
    values = (1.4 * torch.rand((channels, *SHAPE), generator=generator) - 0.2).clamp(0, 1)
    return MetaTensor(values, affine=affine, meta={"filename_or_obj": "scan.nii.gz"})


def luminance_error(rgb: torch.Tensor, luma: torch.Tensor) -> float:
    """Largest difference, in double precision and by scikit-image's luminance."""
    grey = rgb2ycbcr(rgb.double().numpy(), channel_axis=0)[0]
    return float(np.abs((grey - 16) / 219 - luma[0].double().numpy()).max())


def hue_error(rgb: torch.Tensor, reference: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    """Difference of the HSV hues in degrees."""
    first, second = (
        torch.from_numpy(rgb2hsv(image.double().numpy(), channel_axis=0)[0])[where]
        for image in (rgb, reference)
    )
    turns = (first - second).abs()
    return 360 * torch.minimum(turns, 1 - turns)


def spread(rgb: torch.Tensor) -> torch.Tensor:
    """How far a color is from grey."""
    return (rgb.amax(0) - rgb.amin(0)).as_subclass(torch.Tensor)


# --- the parts --------------------------------------------------------------------------------


def test_pseudo_color_spans_the_table():
    scalar = torch.linspace(-1, 1, 256).reshape(1, 256, 1, 1)
    rgb = PseudoColor("hot_iron")(scalar)
    torch.testing.assert_close(
        rgb.as_tensor()[:, :, 0, 0].T, color_table("hot_iron"), atol=1e-4, rtol=0
    )
    case = PseudoColord("moving", "hot_iron")({"moving": scalar, "fixed": scalar})
    assert case["moving"].equal(rgb)
    assert case["fixed"] is scalar
    with pytest.raises(InputError, match="'sunset' is unknown"):
        PseudoColord("moving", "sunset")


@pytest.mark.parametrize("white", [1, 255, 65535])
def test_split_and_merge_is_a_round_trip(white):
    rgb = random(3)
    rgb[:, 0, 0, 0] = 1  # so that white is known
    luma, chroma = SplitLuminanceChroma()(rgb * white)
    assert luma.shape == (1, *SHAPE)
    assert chroma.shape == (2, *SHAPE)
    for part in (luma, chroma):
        assert 0 <= part.min() <= part.max() <= 1
    merged = MergeChroma()(luma, chroma)
    torch.testing.assert_close(merged.as_tensor(), rgb.as_tensor(), atol=1e-5, rtol=0)
    assert merged.meta["filename_or_obj"] == "scan.nii.gz"
    torch.testing.assert_close(merged.affine, rgb.affine)


def test_split_and_merge_of_dictionaries():
    case = SplitLuminanceChromad("moving")({"moving": random(3)})
    assert set(case) == {"moving", "moving_luminance", "moving_chroma"}
    merge = MergeChromad("moving_luminance", "moving_chroma", output_keys="again")
    again = merge(case)["again"]
    torch.testing.assert_close(again.as_tensor(), case["moving"].as_tensor(), atol=1e-5, rtol=0)
    replaced = MergeChromad("moving_luminance", "moving", fade=0)(case)["moving_luminance"]
    torch.testing.assert_close(replaced.as_tensor(), again.as_tensor(), atol=1e-5, rtol=0)


@given(seed=st.integers(0, 2**31 - 1), fade=st.sampled_from([0.0, 0.1, 1.0]))
@settings(max_examples=20, deadline=None)
def test_merge_keeps_luminance_and_hue(seed, fade):
    luma, color = random(1, seed), random(3, seed + 1)
    merged = MergeChroma(fade=fade)(luma, color)
    assert merged.min() >= 0
    assert merged.max() <= 1
    assert luminance_error(merged, luma) < 1e-5
    colored = spread(merged) > 0.02
    assert hue_error(merged, color, colored).max() < 0.1


def test_merge_fades_in_the_dark():
    luma = MetaTensor(torch.full((1, 101), 0.5))
    brightness = torch.linspace(0, 1, 101)[None]
    violet = torch.tensor([0.3, 0.0, 0.4])[:, None].expand(3, 101)
    colored = spread(MergeChroma(fade=0.2)(luma, violet, brightness))
    assert colored[0] == 0
    assert (colored.diff() >= 0).all()
    assert colored.diff().max() < 0.05
    assert colored[20:].tolist() == pytest.approx([0.4] * 81, abs=1e-6)


def test_wrong_arguments_are_refused():
    with pytest.raises(InputError, match="fade of the color is 2"):
        MergeChroma(fade=2)
    with pytest.raises(ValueError, match="grids differ"):
        MergeChroma()(random(1), torch.zeros(3, 2, 2, 2))
    with pytest.raises(ValueError, match="expected RGB"):
        SplitLuminanceChroma()(random(1))


# --- the fusion -------------------------------------------------------------------------------


@pytest.mark.parametrize("modality", ["PET", "nm"])
@pytest.mark.parametrize("table", COLOR_TABLES)
def test_scalar_moving_is_pseudo_colored(modality, table):
    luma, scalar = random(1), 2 * random(1, 1) - 1
    case = ColorizeFusiond(modality, color_table=table)({"fused": luma, "moving_scaled": scalar})
    rgb = case["fused_rgb"]
    assert rgb.shape == (3, *SHAPE)
    assert 0 <= rgb.min() <= rgb.max() <= 1
    assert luminance_error(rgb, luma) < 1e-5
    # Without uptake there is no color, whatever the table begins with; without light, no picture.
    assert spread(rgb)[scalar[0] == -1].max() < 1e-6
    assert rgb[:, luma[0] == 0].max() < 1e-6
    pseudo = PseudoColor(table)(scalar).as_tensor()
    colored = (spread(rgb) > 0.05) & (spread(pseudo) > 0.05)
    if table != "gray":
        assert colored.any()
        assert hue_error(rgb, pseudo, colored).mean() < 0.1
    said = reports_of(rgb)["color"]
    assert said["color_table"] == table
    assert not reports_of(luma)


def test_default_table_has_color_where_uptake_is_strongest():
    luma = MetaTensor(torch.full((1, 50), 0.6))
    scalar = MetaTensor(torch.linspace(-1, 1, 50)[None])
    rgb = ColorizeFusiond("PET")({"fused": luma, "moving_scaled": scalar})["fused_rgb"]
    assert spread(rgb)[scalar[0] > -0.4].min() > 0.2


def test_moving_in_color_keeps_its_own():
    luma, color = random(1), random(3, 1)
    case = {"fused": luma, "moving": color * 255, "moving_scaled": 2 * random(1, 2) - 1}
    rgb = ColorizeFusiond("SPECT", fade=0)(case)["fused_rgb"]
    expected = MergeChroma(fade=0)(luma, color)
    torch.testing.assert_close(rgb.as_tensor(), expected.as_tensor(), atol=1e-5, rtol=0)
    assert reports_of(rgb)["color"]["chroma"] == "of the volume in color"


def test_ct_stays_grey():
    case = {"fused": random(1), "moving": random(1), "moving_scaled": random(1)}
    assert ColorizeFusiond("CT")(case) == case


def test_ct_with_tinted_bone():
    luma = MetaTensor(torch.full((1, 6), 0.5))
    hounsfield = torch.tensor([[-1000.0, 40, 190, 300, 450, 3000]])
    case = {"fused": luma, "moving": hounsfield, "moving_scaled": hounsfield / 3000}
    rgb = ColorizeFusiond("CT", bone_tint=True)(case)["fused_rgb"]
    assert luminance_error(rgb, luma) < 1e-5
    tint = spread(rgb).tolist()
    assert tint[:3] == pytest.approx([0] * 3, abs=1e-6)
    assert 0 < tint[3] < tint[4]
    assert tint[4] == pytest.approx(tint[5])
    red, green, blue = rgb[:, 5].tolist()
    assert red > green > blue
    assert reports_of(rgb)["color"]["bone_threshold_hu"] == 300
    higher = ColorizeFusiond("CT", bone_tint=True, bone_threshold=1000)(case)["fused_rgb"]
    assert spread(higher)[4] < 1e-6
    with pytest.raises(InputError, match="needs a CT in HU"):
        ColorizeFusiond("CT", bone_tint=True)(case | {"moving": hounsfield.expand(3, 6)})


def test_options_without_sense_are_refused():
    for options, sentence in (
        ({"modality": "XYZ"}, "'XYZ' is unknown; use CT, PET or SPECT"),
        ({"modality": "MR"}, "use CT, PET or SPECT"),
        ({"modality": "PET", "bone_tint": True}, "needs HU; leave it out for PET"),
        ({"modality": "PET", "color_table": "mud"}, "'mud' is unknown; use one of pet"),
        ({"modality": "PET", "fade": -1}, "fade of the color is -1"),
    ):
        with pytest.raises(InputError, match=sentence):
            ColorizeFusiond(**options)


def test_color_is_inverted_with_the_luminance():
    flip = Compose([Flipd("fused", spatial_axis=0)])
    luma = random(1)
    case = flip({"fused": luma})
    case["moving_scaled"] = 2 * random(1, 1) - 1
    rgb = ColorizeFusiond("PET")(case)["fused_rgb"]
    back = flip.inverse({"fused": rgb})["fused"]
    torch.testing.assert_close(luminance(back.as_tensor(), dim=0), luma.as_tensor())


@pytest.fixture(scope="module")
def spect(shared):
    """A few slices of a real MRI and of the pseudo-colored SPECT of the same patient."""
    folder = shared / "data" / "aanlib_dev" / "volume"
    if not folder.is_dir():
        pytest.skip("the volume in color is not beside this checkout")
    mri, rgb = (
        np.asarray(nib.load(folder / name).dataobj).squeeze()[:, :, 8:26:6]
        for name in ("mri.nii.gz", "spect_rgb.nii.gz")
    )
    moving = torch.from_numpy(np.moveaxis(rgb, -1, 0).astype(np.float32))
    return {
        "fixed": NormalizeByModality("MR")(torch.from_numpy(mri.astype(np.float32))[None]),
        "moving": MetaTensor(moving),
        "moving_scaled": NormalizeByModality("SPECT")(moving),
    }


@pytest.mark.parametrize("rule", ["maximum", "mean"])
def test_real_spect_keeps_its_hue_and_the_edges_of_the_mri(spect, rule):
    fixed, scaled = spect["fixed"].as_tensor(), spect["moving_scaled"].as_tensor()
    fused = torch.maximum(fixed, scaled) if rule == "maximum" else (fixed + scaled) / 2
    luma = MetaTensor((fused + 1) / 2)
    rgb = ColorizeFusiond("SPECT")(spect | {"fused": luma})["fused_rgb"].as_tensor()
    moving = spect["moving"].as_tensor() / 255
    assert luminance_error(rgb, luma) < 1e-5
    # White has no hue, so hue is compared where the gamut leaves room for it.
    bright = (moving.amax(0) > 0.5) & (luma[0].as_tensor() < 0.98)
    assert bright.float().mean() > 0.1
    assert hue_error(rgb, moving, bright).mean() < 3
    # Neither the air nor what only the MRI shows takes on a color.
    dark = moving.amax(0) == 0
    assert dark.float().mean() > 0.3
    assert spread(rgb)[dark].max() < 1e-6
    # The picture's grey steps are those of the fused luminance, edges of the MRI among them.
    steps = luminance(rgb, dim=0).diff(dim=1)
    torch.testing.assert_close(steps, luma.as_tensor().diff(dim=1), atol=1e-5, rtol=0)


@pytest.mark.slow
def test_the_whole_pipeline_keeps_the_hue_of_a_real_spect(shared, tmp_path):
    """What a run writes for three slices of the volume in color: its hue, and the MRI's edges."""
    folder = shared / "data" / "aanlib_dev" / "volume"
    if not folder.is_dir():
        pytest.skip("the volume in color is not beside this checkout")
    paths = {}
    for role, name in (("fixed", "mri.nii.gz"), ("moving", "spect_rgb.nii.gz")):
        image = nib.load(folder / name)
        data = np.asarray(image.dataobj)[:, :, 14:17]
        paths[role] = tmp_path / name
        nib.save(nib.Nifti1Image(data, image.affine), paths[role])
    options = {"modality": "SPECT", "registration": "none", "device": "cpu"}
    result = fuse(paths["fixed"], paths["moving"], output_dir=tmp_path / "out", **options)

    def read(path):
        data = np.asarray(nib.load(path).dataobj)
        return np.stack([data[channel] for channel in "RGB"]) if data.dtype.names else data

    rgb = torch.from_numpy(read(result.files["fused_rgb.nii.gz"])).double() / 255
    spect = np.moveaxis(np.asarray(nib.load(paths["moving"]).dataobj).squeeze(), -1, 0)
    moving = torch.from_numpy(spect).double() / 255
    luma = torch.from_numpy(read(result.files["fused.nii.gz"])).double()
    bright = (moving.amax(0) > 0.5) & (luma < 0.98)
    assert bright.double().mean() > 0.1
    error = hue_error(rgb, moving, bright).mean()
    print(f"mean hue error {float(error):.2f} degrees in {int(bright.sum())} bright voxels")
    assert error < 3
    # The edges of the MRI: where it is steep, the fusion is steep in the same direction.
    mri = torch.from_numpy(np.asarray(nib.load(paths["fixed"]).dataobj)).double()
    for axis in (0, 1):
        steps, shown = mri.diff(dim=axis), luma.diff(dim=axis)
        edges = steps.abs() > steps.abs().quantile(0.95)
        agree = float((steps.sign() == shown.sign())[edges].double().mean())
        print(f"edges of the MRI kept along axis {axis}: {agree:.1%}")
        assert agree > 0.85


@pytest.mark.gpu
@pytest.mark.parametrize("modality", ["PET", "CT"])
def test_everything_stays_on_the_gpu(modality):
    case = {"fused": random(1), "moving_scaled": 2 * random(1, 1) - 1, "moving": 1e3 * random(1, 2)}
    transform = ColorizeFusiond(modality, bone_tint=modality == "CT")
    here = transform(case)["fused_rgb"]
    there = transform({key: value.cuda() for key, value in case.items()})["fused_rgb"]
    assert there.is_cuda
    torch.testing.assert_close(there.cpu().as_tensor(), here.as_tensor(), atol=1e-4, rtol=0)
