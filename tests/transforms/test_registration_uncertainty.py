"""How far a registration may be off: against the images, and against motions that are known."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage
from scipy.spatial.transform import Rotation

from monai_ddfm.data.transform_files import transform_matrix
from monai_ddfm.transforms.registration_optimizer import FINE, linear, optimize
from monai_ddfm.transforms.registration_uncertainty import RigidUncertainty, rigid_uncertainty
from monai_ddfm.transforms.similarity import WorkingImage, working_image

SIDE, SPACING = 36, 4.0


def head(seed: int = 0) -> np.ndarray:
    """A ball with blobs in it."""
    rng = np.random.default_rng(seed)
    blobs = ndimage.gaussian_filter(rng.standard_normal((SIDE,) * 3), 1.6)
    blobs /= blobs.std()
    axes = np.meshgrid(*[np.arange(SIDE) - SIDE / 2 + 0.5] * 3, indexing="ij")
    radius = np.sqrt(sum(a**2 for a in axes))
    inside = 1 / (1 + np.exp((radius - 13) / 0.7))
    return inside * (600 + 150 * blobs)


def prepared(image: np.ndarray, *, noise: float, seed: int) -> WorkingImage:
    rng = np.random.default_rng(seed)
    noisy = image + noise * rng.standard_normal(image.shape)
    made = sitk.GetImageFromArray(noisy.transpose(2, 1, 0).astype(np.float32))
    made.SetSpacing([SPACING] * 3)
    return working_image(made, spacing=SPACING)


def pair(noise: float, *, seed: int = 0) -> tuple[WorkingImage, WorkingImage]:
    image = head()
    other = image.max() - image + 0.2 * image**2 / image.max()
    other[image < 100] = 0
    return prepared(image, noise=noise, seed=2 * seed), prepared(
        other, noise=noise, seed=2 * seed + 1
    )


def test_noise_and_a_coarse_scanner_make_less_sure() -> None:
    still, clear = sitk.AffineTransform(3), pair(20)
    quiet = rigid_uncertainty(*clear, still, resolution=1.0)
    loud = rigid_uncertainty(*pair(300), still, resolution=1.0)
    for one in (quiet, loud):
        np.testing.assert_array_equal(one.covariance, one.covariance.T)
        assert np.linalg.eigvalsh(one.covariance).min() > 0
    assert 0.1 < quiet.mm < loud.mm < 5
    coarse = rigid_uncertainty(*clear, still, resolution=12.0)
    shares = np.array([0.0185] * 5 + [0.048])
    np.testing.assert_allclose(
        coarse.covariance - quiet.covariance, np.diag(shares**2 * (12**2 - 1)), atol=1e-9
    )


def test_motions_are_drawn_from_the_covariance_about_the_center() -> None:
    rng = np.random.default_rng(0)
    root = 0.3 * rng.standard_normal((6, 6))
    known = RigidUncertainty(root @ root.T + 0.1 * np.eye(6), np.array([10.0, -20, 30]), 60.0)
    known = RigidUncertainty.of(known.described())
    motions = np.array([known.drawn(np.random.default_rng(n)) for n in range(800)])
    turns = Rotation.from_matrix(motions[:, :3, :3]).as_rotvec() * known.radius
    shifts = motions[:, :3, :3] @ known.center + motions[:, :3, 3] - known.center
    np.testing.assert_allclose(
        np.cov(np.concatenate([turns, shifts], axis=1).T), known.covariance, atol=0.12
    )
    # Root mean square displacement of a ball whose root mean square radius is that of the head.
    points = rng.standard_normal((500, 3))
    points *= (rng.uniform(size=(500, 1)) ** (1 / 3)) / np.linalg.norm(points, axis=1)[:, None]
    points = known.center + points * known.radius / np.sqrt(3 / 5)
    moved = motions[:200, None, :3, :3] @ points[..., None]
    apart = moved[..., 0] + motions[:200, None, :3, 3] - points
    assert np.sqrt(np.square(apart).sum(-1).mean()) == pytest.approx(known.mm, rel=0.08)


@pytest.mark.slow
def test_registrations_of_other_noise_differ_as_much_as_is_said() -> None:
    found, said = [], []
    for seed, noise in product(range(12), (150,)):
        fixed, moving = pair(noise, seed=seed)
        top = optimize(fixed, moving, linear(np.eye(4)), FINE)
        motion = transform_matrix(top)
        shift = motion[:3, :3] @ fixed.center + motion[:3, 3] - fixed.center
        turn = Rotation.from_matrix(motion[:3, :3]).as_rotvec() * fixed.radius
        found.append(np.concatenate([turn, shift]))
        said.append(np.diag(rigid_uncertainty(fixed, moving, top, resolution=1.0).covariance))
    ratio = np.var(found, axis=0).sum() / np.mean(said, axis=0).sum()
    assert 0.2 < ratio < 2
