"""The demo's head: tissues that add up, alike at every resolution, within every scanner."""

from __future__ import annotations

import numpy as np
import pytest

from monai_ddfm.apps.demo import Anatomy, build_anatomy
from monai_ddfm.apps.demo.modalities import GRIDS, MRI_GRID, make_moving, make_mri, rigid_truth

pytest.importorskip("nilearn")


def test_tissue_fractions_add_up(head: Anatomy) -> None:
    total = sum(head.tissues.values())
    assert total.max() <= 1 + 1e-5
    assert all(f.min() >= 0 for f in head.tissues.values())
    # Air is around the head, never within the skull.
    brain = head.tissues["gray"] + head.tissues["white"] + head.tissues["csf"]
    assert total[brain > 0.5].min() > 0.99
    assert total[:, :, -1].max() == 0
    liters = {k: v.sum() * head.voxel**3 / 1e6 for k, v in head.tissues.items()}
    assert 1.0 < liters["gray"] + liters["white"] < 1.9


def test_same_head_at_every_resolution(head: Anatomy) -> None:
    fine = build_anatomy(0, voxel=1.5)
    for name, fraction in head.tissues.items():
        a, b = fraction.sum() * head.voxel**3, fine.tissues[name].sum() * fine.voxel**3
        assert a == pytest.approx(b, rel=0.04), name


@pytest.mark.parametrize("seed", range(3))
def test_head_lies_within_every_scanner(seed: int) -> None:
    small = build_anatomy(seed, voxel=2.0)
    volumes = [(make_mri(small, seed, 2.0), 150.0)]
    for modality, limit in (("PET", 400.0), ("SPECT", 80.0), ("CT", -800.0)):
        truth = rigid_truth(seed, modality)
        volumes.append((make_moving(small, modality, seed, 2.0, truth), limit))
    for volume, limit in volumes:
        data = volume.data
        for face in (data[0], data[-1], data[:, 0], data[:, -1], data[:, :, -1]):
            # The head goes on below, so that only the five other faces show air.
            assert np.median(face) < limit
            assert (face > limit).mean() < 0.02


def test_full_size_of_the_grids() -> None:
    assert np.all(np.array(MRI_GRID.shape) >= (150, 180, 60))
    assert np.all(np.array(MRI_GRID.shape) <= (180, 216, 70))
    assert GRIDS["PET"].spacing == (2.5, 2.5, 2.5)
