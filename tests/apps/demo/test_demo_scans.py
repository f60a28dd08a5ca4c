"""The demo's scans show each tissue as its modality does, with the noise of its kind."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from demo_scans import on_scan
from scipy import ndimage

from monai_ddfm.apps.demo import Anatomy
from monai_ddfm.apps.demo.modalities import Volume, make_moving, rigid_truth

pytest.importorskip("nilearn")


@pytest.mark.parametrize("modality", ["PET", "SPECT"])
def test_uptake_of_tissues(
    modality: str, head: Anatomy, scans: dict[str, tuple[Volume, sitk.Euler3DTransform]]
) -> None:
    """Geometric transfer matrix: the scan is a sum of blurred tissue maps; solve for the uptake."""
    scan, truth = scans[modality]
    fwhm, expected = {"PET": (6.0, (4, 1, 0.2)), "SPECT": (10.0, (3, 1, 0.12))}[modality]
    healthy = 1 - head.lesions["hot"] - head.lesions["cold"]
    maps = [head.tissues[k] * healthy for k in head.tissues] + list(head.lesions.values())
    sigma = fwhm / np.sqrt(8 * np.log(2)) / head.voxel
    spread = [on_scan(ndimage.gaussian_filter(m, sigma), head, scan, truth) for m in maps]
    seen = np.stack([s.ravel() for s in spread], axis=1)
    inside = seen.sum(axis=1) > 0.5
    uptake = np.linalg.lstsq(seen[inside], scan.data.ravel()[inside], rcond=None)[0]
    gray, _, csf = uptake[:3] / uptake[1]
    assert gray == pytest.approx(expected[0], rel=0.06)
    assert csf == pytest.approx(expected[2], abs=0.15)
    hot, cold = uptake[-2:] / uptake[0]
    assert hot > 1.4
    assert cold < 0.35


def test_uptake_in_eroded_tissue(
    head: Anatomy, scans: dict[str, tuple[Volume, sitk.Euler3DTransform]]
) -> None:
    scan, truth = scans["PET"]
    means = {}
    for name, erosion in (("gray", 2), ("white", 3)):
        mask = ndimage.binary_erosion(head.tissues[name] > 0.8, iterations=erosion)
        mask &= head.lesions["hot"] + head.lesions["cold"] == 0
        where = on_scan(mask.astype(np.float32), head, scan, truth) > 0.5
        assert where.sum() > 20
        means[name] = scan.data[where].mean()
    # Thick gray matter nearly keeps its uptake; what is lost went to the white matter.
    assert 2.5 < means["gray"] / means["white"] < 4.2
    assert 11000 < means["gray"] < 17000


def test_noise_of_pet_is_that_of_its_counts(head: Anatomy) -> None:
    truth = rigid_truth(0, "PET")
    a, b = (make_moving(head, "PET", seed, 1.0, truth).data for seed in (0, 1))
    both = (a + b) / 2
    busy = both > 13000
    noise = (a - b)[busy].std() / np.sqrt(2) / both[busy].mean()
    assert 0.03 < noise < 0.07


def test_hounsfield_units(
    head: Anatomy, scans: dict[str, tuple[Volume, sitk.Euler3DTransform]]
) -> None:
    scan, truth = scans["CT"]
    assert scan.data.dtype == np.int16
    healthy = head.lesions["hot"] == 0
    ranges = {"gray": (33, 43), "white": (24, 33), "csf": (2, 14), "soft": (35, 55)}
    for name, (low, high) in ranges.items():
        pure = ((head.tissues[name] > 0.97) & healthy).astype(np.float32)
        values = scan.data[on_scan(pure, head, scan, truth) > 0.97]
        assert values.size > 100, name
        assert low < np.median(values) < high, name
        if name == "white":
            assert 3 < values.std() < 9
    air = on_scan(sum(head.tissues.values()), head, scan, truth) == 0
    assert np.median(scan.data[air]) == pytest.approx(-1000, abs=5)
    bone = head.tissues["compact"] + head.tissues["diploe"]
    skull = scan.data[on_scan(bone, head, scan, truth) > 0.9]
    assert np.percentile(skull, 5) > 400
    assert np.percentile(skull, 99) < 1500


def test_skull_is_closed(
    head: Anatomy, scans: dict[str, tuple[Volume, sitk.Euler3DTransform]]
) -> None:
    scan, truth = scans["CT"]
    brain = on_scan(head.tissues["gray"] + head.tissues["white"], head, scan, truth) > 0.5
    checked = 0
    for k in np.flatnonzero(brain.any(axis=(0, 1))):
        bone = scan.data[:, :, k] > 300
        core = ndimage.binary_erosion(brain[:, :, k], iterations=3)
        if core.sum() < 4000:
            continue  # slices that graze the vertex or the skull base
        # A ring without its inner and outer millimeter is still a ring.
        for ring in (bone, ndimage.binary_erosion(bone)):
            assert ndimage.binary_fill_holes(ring)[core].all(), k
        assert bone[core].mean() < 0.03
        checked += 1
    assert checked > 40


def test_a_t1_shows_white_over_gray_matter(head: Anatomy, t1: Volume) -> None:
    def level(name: str) -> float:
        mask = (head.tissues[name] > 0.95).astype(np.float32)
        return float(np.median(t1.data[on_scan(mask, head, t1, sitk.Transform()) > 0.95]))

    levels = {n: level(n) for n in ("fat", "white", "gray", "soft", "csf")}
    assert list(levels.values()) == sorted(levels.values(), reverse=True), levels
    # Rician noise: in air the magnitude has the Rayleigh distribution, mean over deviation 1.91.
    air = t1.data[:, :, -1]
    assert air.min() >= 0
    assert air.mean() / air.std() == pytest.approx(np.sqrt(np.pi / (4 - np.pi)), rel=0.03)
