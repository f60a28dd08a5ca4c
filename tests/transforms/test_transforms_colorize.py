"""The colored fusion of each modality: its hue, its luminance, and the edges of the MRI."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import torch
from color_checks import SHAPE, hue_error, luminance_error, random, spread
from monai.data import MetaTensor
from monai.transforms import Compose, Flipd

from monai_ddfm.errors import InputError
from monai_ddfm.transforms.color import MergeChroma, PseudoColor
from monai_ddfm.transforms.colorize import ColorizeFusiond
from monai_ddfm.transforms.intensity import NormalizeByModality
from monai_ddfm.utils.color import COLOR_TABLES, luminance
from monai_ddfm.utils.reports import reports_of
from monai_ddfm.workflow import fuse


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
        ({"modality": "XYZ"}, "'XYZ' is unknown; use CT, PET, SPECT, US or MR"),
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
