"""Transforms as files, as text in the metadata and as matrices."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from monai.data import MetaTensor, decollate_batch, list_data_collate

from monai_ddfm.data.transform_files import (
    attach_transform,
    read_transform,
    transform_matrix,
    transform_of,
    write_transform,
)
from monai_ddfm.errors import InputError

POINTS = np.random.default_rng(2).uniform(-150, 150, (20, 3)).tolist()


def euler() -> sitk.Transform:
    return sitk.Euler3DTransform((10.0, -20.0, 30.0), 0.1, -0.2, 0.3, (4.0, 5.0, -6.0))


def bent() -> sitk.Transform:
    spline = sitk.BSplineTransformInitializer(sitk.Image([20, 20, 20], sitk.sitkUInt8), [2, 2, 2])
    rng = np.random.default_rng(0)
    spline.SetParameters(rng.normal(size=len(spline.GetParameters())).tolist())
    return sitk.CompositeTransform([euler(), spline])


def mapped(transform: sitk.Transform) -> np.ndarray:
    return np.array([transform.TransformPoint(p) for p in POINTS])


def volume() -> MetaTensor:
    return MetaTensor(torch.zeros(1, 3, 3, 3), affine=torch.eye(4))


@pytest.mark.parametrize("suffix", [".tfm", ".txt", ".h5", ".mat"])
def test_linear_transforms_survive_every_file_format(tmp_path, suffix):
    path = write_transform(euler(), tmp_path / f"a b ü{suffix}")
    assert np.allclose(mapped(read_transform(path)), mapped(euler()), atol=1e-9)
    assert np.allclose(mapped(read_transform(path, invert=True)), mapped(euler().GetInverse()))
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_the_matrix_acts_on_columns_in_millimeters(tmp_path):
    matrix = transform_matrix(euler())
    expected = mapped(euler())
    got = (matrix @ np.column_stack([POINTS, np.ones(len(POINTS))]).T)[:3].T
    assert np.allclose(got, expected, atol=1e-9)
    path = write_transform(matrix.tolist(), tmp_path / "transform.tfm")
    assert np.array_equal(transform_matrix(read_transform(path)), matrix)


@pytest.mark.parametrize("make", [euler, bent])
def test_a_transform_travels_through_collating_as_text(make, tmp_path):
    scan = volume()
    attach_transform(scan, make())
    item = decollate_batch(list_data_collate([{"moving": scan}, {"moving": scan}]))[1]["moving"]
    assert np.array_equal(mapped(transform_of(item)), mapped(make()))
    path = write_transform(item, tmp_path / "transform.tfm")
    assert np.array_equal(mapped(sitk.ReadTransform(str(path))), mapped(make()))


def test_a_volume_that_was_never_registered_has_no_transform(tmp_path):
    with pytest.raises(InputError, match="register it first"):
        write_transform(volume(), tmp_path / "transform.tfm")


def test_dense_fields_are_left_in_their_file():
    scan = volume()
    field = sitk.Image([9, 9, 9], sitk.sitkVectorFloat64, 3)
    attach_transform(scan, sitk.DisplacementFieldTransform(field))
    with pytest.raises(InputError, match="carries no transform"):
        transform_of(scan)


def junk(folder):
    path = folder / "junk.tfm"
    path.write_text("1 0 0 0\n")
    return path


def missing(folder):
    return folder / "missing.tfm"


def wrong_kind(folder):
    path = folder / "matrix.csv"
    path.write_text("1,0")
    return path


def flat(folder):
    path = folder / "flat.tfm"
    sitk.WriteTransform(sitk.Euler2DTransform(), str(path))
    return path


def singular(folder):
    path = folder / "singular.tfm"
    affine = sitk.AffineTransform(3)
    affine.SetMatrix([1, 0, 0, 0, 1, 0, 0, 0, 0])
    sitk.WriteTransform(affine, str(path))
    return path


@pytest.mark.parametrize("make", [junk, missing, wrong_kind, flat, singular])
def test_files_that_cannot_be_used_are_refused_by_name(make, tmp_path):
    path = make(tmp_path)
    with pytest.raises(InputError) as caught:
        read_transform(path)
    assert path.name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_inverted_says_so(tmp_path):
    path = write_transform(bent(), tmp_path / "bent.tfm")
    assert np.allclose(mapped(read_transform(path)), mapped(bent()))
    with pytest.raises(InputError, match="no inverse"):
        read_transform(path, invert=True)


def test_nothing_is_left_behind_where_writing_fails(tmp_path):
    (tmp_path / "transform.tfm").mkdir()
    with pytest.raises(InputError, match="cannot be written"):
        write_transform(euler(), tmp_path / "transform.tfm")
    with pytest.raises(InputError, match="cannot be written"):
        write_transform(euler(), tmp_path / "nowhere" / "transform.tfm")
    assert [p.name for p in tmp_path.iterdir()] == ["transform.tfm"]
    with pytest.raises(InputError, match=r"\.tfm"):
        write_transform(euler(), tmp_path / "transform.nii")
    with pytest.raises(InputError, match="4x4"):
        write_transform(np.eye(3), tmp_path / "t.tfm")
