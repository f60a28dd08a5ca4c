from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from scipy import ndimage

from monai_ddfm.demo import Anatomy, DemoSubject, build_anatomy, make_demo, write_demo_dicom
from monai_ddfm.demo.modalities import GRIDS, MRI_GRID, Volume, make_moving, make_mri, rigid_truth
from monai_ddfm.errors import InputError

pytest.importorskip("nilearn")

MODALITIES = ("PET", "CT", "SPECT")
LPS = np.diag([-1.0, -1.0, 1.0])


def as_itk(data: np.ndarray, affine: np.ndarray) -> sitk.Image:
    image = sitk.GetImageFromArray(np.ascontiguousarray(data.T.astype(np.float32)))
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((LPS @ affine[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin((LPS @ affine[:3, 3]).tolist())
    return image


def as_array(image: sitk.Image) -> np.ndarray:
    return sitk.GetArrayFromImage(image).T.astype(np.float64)


def on_scan(field: np.ndarray, head: Anatomy, scan: Volume, truth: sitk.Transform) -> np.ndarray:
    """Tissue map on the grid of a scan, by ITK: its points go through the truth to the head's."""
    reference = as_itk(scan.data, scan.affine)
    return as_array(sitk.Resample(as_itk(field, head.affine), reference, truth, sitk.sitkLinear))


def mutual_information(a: np.ndarray, b: np.ndarray) -> float:
    joint = np.histogram2d(a, b, bins=48)[0]
    joint /= joint.sum()
    product = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    seen = joint > 0
    return float((joint[seen] * np.log(joint[seen] / product[seen])).sum())


@pytest.fixture(scope="module")
def head() -> Anatomy:
    return build_anatomy(0, voxel=2.0)


@pytest.fixture(scope="module")
def t1(head: Anatomy) -> Volume:
    return make_mri(head, 0, 2.0)


@pytest.fixture(scope="module")
def scans(head: Anatomy) -> dict[str, tuple[Volume, sitk.Euler3DTransform]]:
    truths = {m: rigid_truth(0, m) for m in MODALITIES}
    return {m: (make_moving(head, m, 0, 1.0, t), t) for m, t in truths.items()}


@pytest.fixture(scope="module")
def subjects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, DemoSubject]:
    folder = tmp_path_factory.mktemp("subject")
    return {m: make_demo(folder, modality=m, seed=3, scale=3.0, dicom=True) for m in MODALITIES}


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


def test_t1_contrast(head: Anatomy, t1: Volume) -> None:
    def level(name: str) -> float:
        mask = (head.tissues[name] > 0.95).astype(np.float32)
        return float(np.median(t1.data[on_scan(mask, head, t1, sitk.Transform()) > 0.95]))

    levels = {n: level(n) for n in ("fat", "white", "gray", "soft", "csf")}
    assert list(levels.values()) == sorted(levels.values(), reverse=True), levels
    # Rician noise: in air the magnitude has the Rayleigh distribution, mean over deviation 1.91.
    air = t1.data[:, :, -1]
    assert air.min() >= 0
    assert air.mean() / air.std() == pytest.approx(np.sqrt(np.pi / (4 - np.pi)), rel=0.03)


@pytest.mark.parametrize("modality", MODALITIES)
def test_truth_aligns(
    modality: str, t1: Volume, scans: dict[str, tuple[Volume, sitk.Euler3DTransform]]
) -> None:
    scan, truth = scans[modality]
    fixed, moving = as_itk(t1.data, t1.affine), as_itk(scan.data, scan.affine)
    inside = t1.data > 150

    def score(transform: sitk.Transform) -> float:
        resampled = sitk.Resample(moving, fixed, transform, sitk.sitkLinear, float(scan.data.min()))
        return mutual_information(t1.data[inside], as_array(resampled)[inside])

    inverse = sitk.Euler3DTransform(truth.GetInverse())
    shifted = sitk.Euler3DTransform(inverse)
    shifted.SetTranslation(np.add(inverse.GetTranslation(), (2.0, 0.0, 0.0)).tolist())
    best = score(inverse)
    assert best > score(shifted)
    assert best > 1.1 * score(sitk.Euler3DTransform())
    assert best > 1.1 * score(truth)


def test_truth_maps_points_of_the_scan_to_points_of_the_t1(
    head: Anatomy, scans: dict[str, tuple[Volume, sitk.Euler3DTransform]]
) -> None:
    scan, truth = scans["PET"]
    labels, count = ndimage.label(head.lesions["hot"] > 0.5)
    assert count == 2
    index = np.indices(scan.data.shape).reshape(3, -1)
    points = LPS @ (scan.affine[:3, :3] @ index + scan.affine[:3, 3:])
    for center in ndimage.center_of_mass(head.lesions["hot"], labels, [1, 2]):
        target = LPS @ (head.affine[:3, :3] @ center + head.affine[:3, 3])
        near = np.linalg.norm(points.T - truth.GetInverse().TransformPoint(target), axis=1) < 14
        values = np.where(near, scan.data.ravel(), 0)
        weight = np.maximum(values - 0.8 * values.max(), 0)
        found = truth.TransformPoint((points @ weight / weight.sum()).tolist())
        assert np.linalg.norm(np.array(found) - target) < 1.5


def test_transforms_are_moderate_and_differ() -> None:
    seen = set()
    for seed in range(40):
        for modality in MODALITIES:
            truth = rigid_truth(seed, modality)
            assert all(2 <= abs(np.rad2deg(a)) <= 6 for a in truth.GetParameters()[:3])
            assert all(3 <= abs(t) <= 9 for t in truth.GetTranslation())
            seen.add(truth.GetParameters())
    assert len(seen) == 120


def test_full_size_of_the_grids() -> None:
    assert np.all(np.array(MRI_GRID.shape) >= (150, 180, 60))
    assert np.all(np.array(MRI_GRID.shape) <= (180, 216, 70))
    assert GRIDS["PET"].spacing == (2.5, 2.5, 2.5)


def test_files(subjects: dict[str, DemoSubject]) -> None:
    for modality, subject in subjects.items():
        truth = sitk.ReadTransform(str(subject.truth))
        # A text file keeps 17 digits: the same numbers come back.
        assert truth.GetParameters() == rigid_truth(3, modality).GetParameters()
        for path in (subject.fixed, subject.moving):
            image = nib.load(path)
            assert image.get_qform(coded=True)[1] == 1
            assert image.get_sform(coded=True)[1] == 1
            np.testing.assert_allclose(image.get_qform(), image.get_sform(), atol=1e-4)
            assert "not for diagnosis" in str(image.header["descrip"])
            assert image.header.get_xyzt_units()[0] == "mm"
            assert np.isfinite(image.get_fdata()).all()
    folder = subjects["PET"].fixed.parent
    assert not [p for p in folder.iterdir() if p.name.startswith(".")]
    assert subjects["CT"].moving.name == "ct.nii.gz"
    assert subjects["SPECT"].truth.name == "spect_to_t1_truth.tfm"
    assert dataclasses.is_dataclass(subjects["PET"])


def test_same_seed_same_bytes(tmp_path: Path, subjects: dict[str, DemoSubject]) -> None:
    again = make_demo(tmp_path, modality="pet", seed=3, scale=3.0, dicom=True)
    first = subjects["PET"]
    assert again.fixed.read_bytes() == first.fixed.read_bytes()
    assert again.moving.read_bytes() == first.moving.read_bytes()
    assert again.truth.read_bytes() == first.truth.read_bytes()
    for a, b in ((again.fixed_dicom, first.fixed_dicom), (again.moving_dicom, first.moving_dicom)):
        names = sorted(p.name for p in a.iterdir())
        assert names == sorted(p.name for p in b.iterdir())
        assert all((a / n).read_bytes() == (b / n).read_bytes() for n in names)


def test_other_seed_other_subject(tmp_path: Path, subjects: dict[str, DemoSubject]) -> None:
    other = make_demo(tmp_path, modality="PET", seed=4, scale=3.0)
    assert other.fixed_dicom is None
    for a, b in ((other.fixed, subjects["PET"].fixed), (other.moving, subjects["PET"].moving)):
        x, y = nib.load(a).get_fdata(), nib.load(b).get_fdata()
        assert x.shape == y.shape
        assert (x != y).mean() > 0.3
    assert other.truth.read_text() != subjects["PET"].truth.read_text()


def read_dicom(folder: Path) -> sitk.Image:
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder))
    return sitk.ReadImage(names if len(names) > 1 else names[0], sitk.sitkFloat64)


@pytest.mark.parametrize("modality", ["MR", *MODALITIES])
def test_dicom_equals_nifti(modality: str, subjects: dict[str, DemoSubject]) -> None:
    subject = subjects["PET" if modality == "MR" else modality]
    pair = (subject.fixed_dicom, subject.fixed)
    if modality != "MR":
        pair = (subject.moving_dicom, subject.moving)
    series, nifti = read_dicom(pair[0]), sitk.ReadImage(str(pair[1]), sitk.sitkFloat64)
    assert series.GetSize() == nifti.GetSize()
    size = np.array(nifti.GetSize()) - 1
    for corner in np.ndindex(2, 2, 2):
        at = [int(n) for n in size * corner]
        a, b = (i.TransformIndexToPhysicalPoint(at) for i in (series, nifti))
        np.testing.assert_allclose(a, b, atol=0.01)
    a, b = as_array(series), as_array(nifti)
    step = 1.0
    if modality == "PET":
        step = b.max(axis=(0, 1), keepdims=True) / 32767 + 1e-7
    assert np.all(np.abs(a - b) <= 0.5001 * step)


def test_dicom_identities(subjects: dict[str, DemoSubject]) -> None:
    folders = [subjects["PET"].fixed_dicom, *(s.moving_dicom for s in subjects.values())]
    assert [f.name for f in folders] == ["dicom_mr", "dicom_pet", "dicom_ct", "dicom_nm"]
    series = [[pydicom.dcmread(p) for p in sorted(f.iterdir())] for f in folders]
    every = [d for s in series for d in s]
    assert {str(d.PatientName) for d in every} == {"DEMO^SUBJECT"}
    assert {d.PatientID for d in every} == {"DDFM-DEMO"}
    assert len({d.StudyInstanceUID for d in every}) == 1
    assert len({d.FrameOfReferenceUID for d in every}) == 4
    assert len({d.SeriesInstanceUID for d in every}) == 4
    assert len({d.SOPInstanceUID for d in every}) == len(every)
    assert all(d.SOPInstanceUID.is_valid for d in every)
    assert all("not for diagnosis" in d.SeriesDescription for d in every)
    assert [s[0].Modality for s in series] == ["MR", "PT", "CT", "NM"]
    assert series[3][0].NumberOfFrames == nib.load(subjects["SPECT"].moving).shape[2]


def test_suv_can_be_computed(subjects: dict[str, DemoSubject]) -> None:
    dataset = pydicom.dcmread(next(subjects["PET"].moving_dicom.iterdir()))
    assert dataset.Units == "BQML"
    assert dataset.DecayCorrection == "START"
    injection = dataset.RadiopharmaceuticalInformationSequence[0]
    start, scan = injection.RadiopharmaceuticalStartTime, dataset.SeriesTime
    seconds = (int(scan[:2]) - int(start[:2])) * 3600
    assert injection.RadiopharmaceuticalStartDateTime.startswith(dataset.SeriesDate + start)
    left = injection.RadionuclideTotalDose * 0.5 ** (seconds / injection.RadionuclideHalfLife)
    peak = np.percentile(nib.load(subjects["PET"].moving).get_fdata(), 97)
    # Gray matter takes up glucose at an SUV of some 5 to 10.
    assert 4 < peak * dataset.PatientWeight * 1000 / left < 10


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dicom3tools is not installed")
def test_dicom_is_valid(subjects: dict[str, DemoSubject]) -> None:
    for folder in [subjects["PET"].fixed_dicom, *(s.moving_dicom for s in subjects.values())]:
        for path in sorted(folder.iterdir())[::10]:
            done = subprocess.run(
                ["dciodvfy", str(path)], capture_output=True, text=True, check=False
            )
            assert done.returncode == 0
            assert "Error" not in done.stdout + done.stderr, done.stderr


def test_dicom_elsewhere_and_again(tmp_path: Path, subjects: dict[str, DemoSubject]) -> None:
    mr, nm = write_demo_dicom(subjects["SPECT"], tmp_path)
    before = (nm / "IM0001.dcm").read_bytes()
    (mr / "IM9999.dcm").write_bytes(b"left over from a larger subject")
    assert write_demo_dicom(subjects["SPECT"], tmp_path) == (mr, nm)
    assert not (mr / "IM9999.dcm").exists()
    assert (nm / "IM0001.dcm").read_bytes() == before
    (mr / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="dicom_mr holds other things"):
        write_demo_dicom(subjects["SPECT"], tmp_path)
    assert (mr / "notes.txt").read_text() == "mine"


def test_killed_run_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def save_half(_: object, path: Path) -> None:
        Path(path).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(nib, "save", save_half)
    with pytest.raises(KeyboardInterrupt):
        make_demo(tmp_path, scale=4.0)
    assert list(tmp_path.iterdir()) == []


def test_nilearn_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nilearn", None)
    monkeypatch.setitem(sys.modules, "nilearn.datasets", None)
    with pytest.raises(InputError, match=r'pip install "monai-ddfm\[demo\]"'):
        make_demo(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"modality": "US"}, "unknown modality 'US'"),
        ({"seed": -1}, "seed is -1"),
        ({"scale": 0.5}, "scale is 0.5"),
        ({"scale": float("nan")}, "scale is nan"),
    ],
)
def test_bad_options(tmp_path: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_demo(tmp_path / "new", **options)
    assert not (tmp_path / "new").exists()


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file.*choose another output folder"):
        make_demo(tmp_path / "file" / "demo")


@pytest.mark.slow
def test_full_size_time_and_memory(tmp_path: Path) -> None:
    code = (
        "import json, resource, sys, time; from monai_ddfm.demo import make_demo; t = time.time();"
        "s = make_demo(sys.argv[1], modality='PET');"
        "m = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss;"
        "print(json.dumps([time.time() - t, m]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    seconds, kilobytes = json.loads(done.stdout)
    assert kilobytes < 1.5e6
    assert seconds < 60  # some 8 s on a quiet machine
    assert nib.load(tmp_path / "t1.nii.gz").shape == MRI_GRID.shape
