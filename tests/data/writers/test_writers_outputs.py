"""What a run leaves in its folder, and what the provenance says about it."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import shutil
import sys
from datetime import datetime
from importlib import metadata
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from PIL import Image

from monai_ddfm.data.transform_files import attach_transform
from monai_ddfm.data.writers.bound import CheckBoundd
from monai_ddfm.data.writers.outputs import MARKER, OUTPUT_NAMES, SaveFusionOutputsd
from monai_ddfm.data.writers.provenance import RunRecord
from monai_ddfm.errors import InputError
from monai_ddfm.transforms.loading import LoadVolume
from monai_ddfm.utils.color import apply_color_table, color_table, merge_chroma
from monai_ddfm.utils.reports import add_report

NOTICE = "research use only - not for diagnosis"
SHAPE = (20, 24, 16)


def mri_file(path: Path) -> Path:
    header = nib.Nifti1Header()
    header.set_data_shape(SHAPE)
    affine = np.diag([-1.0, -1.0, 2.0, 1.0])
    affine[:3, 3] = (10.0, 20.0, -5.5)
    header.set_qform(affine, 1)
    header.set_sform(affine, 2)
    grid = np.meshgrid(*(np.linspace(-1.2, 1.2, n) for n in SHAPE), indexing="ij")
    data = (1000 * np.exp(-3 * sum(x**2 for x in grid))).astype(np.int16)
    nib.Nifti1Image(data, affine, header).to_filename(path)
    return path


def make_case(folder: Path, *, color: bool = True, several: bool = True) -> dict:
    """A case as it stands at the end of the chain; with or without color, and several samples."""
    fixed = LoadVolume()(mri_file(folder / "mri.nii.gz"))
    moving = fixed.clone().flip(3) * 0.01 + 0.5
    moving.meta["units"] = "SUVbw"
    luminance = (fixed / fixed.max()).clamp(0, 1)
    scaled = torch.cat([luminance, luminance.flip(3)]) * 2 - 1
    weight = luminance.flip(3) / (luminance + luminance.flip(3) + 1e-3)
    fused = (1 - weight) * luminance + weight * luminance.flip(3)
    attach_transform(moving, sitk.Euler3DTransform((1, 2, 3), 0.1, -0.2, 0.3, (4, 5, 6)))
    add_report(moving, "registration", {"verdict": "ok"})
    case = {"fixed": fixed, "moving": moving, "fused": fused, "weight": weight}
    case |= {"image": scaled, "pred": torch.cat([fused * 2 - 1, weight])}
    if several:
        case |= {"fused_std": weight * 0.1, "weight_stability": 1 - weight}
        case |= {"fused_low": fused * 0.9, "fused_high": fused}
        case["moving_recovered"] = moving * 1.1
    if color:
        pet = apply_color_table(luminance.flip(3).as_tensor(), color_table("plasma"), dim=0)
        case["fused_rgb"] = merge_chroma(fused.as_tensor(), pet, dim=0)
    return case


def save(folder: Path, case: dict, **options) -> dict:
    return SaveFusionOutputsd(folder, **{"modality": "PET", **options})(case)["outputs"]


@pytest.fixture
def case(tmp_path):
    return make_case(tmp_path)


@pytest.fixture
def few(tmp_path):
    """A case of few volumes, whose pictures are drawn sooner."""
    return make_case(tmp_path, color=False, several=False)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out put ü"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A case that has been saved: itself, its folder and the summary; for reading only."""
    folder = tmp_path_factory.mktemp("saved")
    case, out = make_case(folder), folder / "out put ü"
    return case, out, save(out, case)


def test_all_files_are_left_where_the_summary_says(saved):
    _, out, summary = saved
    assert sorted(summary["files"]) == sorted((*OUTPUT_NAMES, MARKER))
    assert sorted(summary["files"].values()) == sorted(str(path) for path in out.iterdir())
    assert summary["notice"] == NOTICE


def test_volumes_lie_on_the_grid_of_the_mri(saved):
    _, out, _ = saved
    mri = nib.load(out.parent / "mri.nii.gz")
    itk_mri = sitk.ReadImage(str(out.parent / "mri.nii.gz"))
    for path in out.glob("*.nii.gz"):
        image = nib.load(path)
        np.testing.assert_array_equal(image.affine, mri.affine)
        assert (image.header["qform_code"], image.header["sform_code"]) == (1, 2)
        assert NOTICE in bytes(image.header["descrip"]).decode()
        read = sitk.ReadImage(str(path))
        assert read.GetSize() == itk_mri.GetSize()
        assert read.GetOrigin() == itk_mri.GetOrigin()
        assert read.GetSpacing() == itk_mri.GetSpacing()
        assert read.GetDirection() == itk_mri.GetDirection()


def test_values_are_read_back(saved):
    case, out, _ = saved
    keys = {"fused": "fused", "weight": "weight", "moving_registered": "moving"}
    for name, key in {**keys, "moving_recovered": "moving_recovered"}.items():
        image = nib.load(out / f"{name}.nii.gz")
        assert image.get_data_dtype() == np.float32
        np.testing.assert_array_equal(image.get_fdata(dtype=np.float32), case[key][0].numpy())
    about = bytes(nib.load(out / "moving_recovered.nii.gz").header["descrip"]).decode()
    assert about.startswith("ESTIMATE, PET recovered; ")
    rgb = LoadVolume()(out / "fused_rgb.nii.gz")
    np.testing.assert_array_equal(rgb.numpy(), np.rint(case["fused_rgb"].numpy() * 255))
    written = sitk.ReadTransform(str(out / "transform.tfm"))
    known = sitk.Euler3DTransform((1, 2, 3), 0.1, -0.2, 0.3, (4, 5, 6))
    assert written.TransformPoint((1, 2, 3)) == known.TransformPoint((1, 2, 3))
    assert Image.open(out / "preview.png").size[0] > 1000


def test_a_grey_fusion_has_no_file_in_color_and_removes_that_of_an_earlier_run(saved, few, out):
    shutil.copytree(saved[1], out)
    assert (out / "fused_rgb.nii.gz").exists()
    summary = save(out, few, modality="CT")
    assert "fused_rgb.nii.gz" not in summary["files"]
    assert not (out / "fused_rgb.nii.gz").exists()


def test_a_moving_volume_in_color_stays_in_color(case, out):
    case["moving"] = MetaTensor(torch.rand(3, *SHAPE) * 255, meta=case["moving"].meta)
    save(out, case, modality="SPECT")
    written = LoadVolume()(out / "moving_registered.nii.gz")
    np.testing.assert_array_equal(written.numpy(), case["moving"].numpy().round())


def test_luminance_beyond_the_range_is_clipped_and_counted(few, out):
    few["fused"][0, 0, 0, 0], few["fused"][0, 0, 0, 1] = 1.5, -0.25
    save(out, few)
    written = nib.load(out / "fused.nii.gz").get_fdata()
    assert (written.min(), written.max()) == (0, 1)
    found = json.loads((out / MARKER).read_text())["fused"]
    assert found == {"smallest": -0.25, "largest": 1.5, "clipped_voxels": 2}


def test_what_the_chain_has_clipped_is_in_the_record(few, out):
    fused = few["fused"] * 2 - 1
    fused[0, 0, 0, :3] = 1.5
    few["pred"], few["image"] = fused, torch.cat([fused, fused])
    few |= CheckBoundd()(few)
    few["fused"] = (fused.clamp(-1, 1) + 1) / 2  # as the configuration has it
    save(out, few)
    assert json.loads((out / MARKER).read_text())["fused"]["clipped_voxels"] == 3


def test_equal_cases_give_equal_bytes(saved, tmp_path):
    case, out, _ = saved
    save(tmp_path, case)
    for name in set(OUTPUT_NAMES) - {"report.html"}:  # it shows the record, which tells times
        assert (tmp_path / name).read_bytes() == (out / name).read_bytes(), name


@pytest.mark.parametrize("fault", ["shape", "affine", "nan"])
def test_a_faulty_case_leaves_nothing(case, out, fault):
    if fault == "shape":
        case["weight"] = case["weight"][:, 1:]
    elif fault == "affine":
        case["moving"].affine[0, 3] += 1
    else:
        case["fused"][0, 3, 3, 3] = float("nan")
    with pytest.raises(ValueError, match=r"grid|NaN"):
        save(out, case)
    assert not out.exists()


def test_the_folder_is_tried_before_anything_is_computed(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="it is a file"):
        SaveFusionOutputsd(tmp_path / "file", modality="PET")
    with pytest.raises(InputError, match="unknown"):
        SaveFusionOutputsd(tmp_path / "out", modality="thermography")
    SaveFusionOutputsd(tmp_path / "out", modality="PET")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("limit", "name"), [(10_000, r"weight\.nii\.gz"), (50_000, r"preview\.png")]
)
def test_when_the_disk_refuses_earlier_results_stay(saved, out, limit, name):
    resource = pytest.importorskip("resource")
    noise = torch.rand(1, *SHAPE, generator=torch.Generator().manual_seed(0))
    case = saved[0] | {"weight": noise}
    shutil.copytree(saved[1], out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(InputError, match=rf"{out}/{name}: File too large"):
            save(out, case)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_a_configuration_shares_one_record(few, out):
    parser = ConfigParser(
        {
            "record": {"_target_": "monai_ddfm.data.writers.RunRecord", "options": {"seed": 3}},
            "chain": {
                "_target_": "Compose",
                "transforms": [
                    {
                        "_target_": "monai_ddfm.data.writers.MarkStage",
                        "record": "@record",
                        "stage": "sampling",
                    },
                    {"_target_": "monai_ddfm.data.writers.CheckBoundd"},
                    {
                        "_target_": "monai_ddfm.data.writers.SaveFusionOutputsd",
                        "output_dir": str(out),
                        "modality": "PET",
                        "record": "@record",
                    },
                ],
            },
        }
    )
    summary = parser.get_parsed_content("chain")(few)["outputs"]
    assert list(summary["seconds"]) == ["sampling", "other", "writing", "total"]
    assert json.loads((out / MARKER).read_text())["options"]["seed"] == 3


def test_one_line_says_where_the_pictures_are(few, out, caplog):
    few = CheckBoundd()(few)
    with caplog.at_level(logging.INFO, logger="monai_ddfm"):
        save(out, few)
    (line,) = (record.getMessage() for record in caplog.records)
    assert str(out / "preview.png") in line
    assert re.search(r"largest excess over the sources: \d", line)
    assert NOTICE in line


def test_the_provenance_is_complete(case, out, tmp_path):
    (tmp_path / "prior.pt").write_bytes(b"weights")
    record = RunRecord(
        inputs={"fixed": tmp_path / "mri.nii.gz", "moving": tmp_path},
        prior=tmp_path / "prior.pt",
        options={"preset": "paper", "steps": 25, "seed": 7, "overrides": {"lr": np.float32(0.5)}},
    )
    record.mark("loading")
    save(out, CheckBoundd()(case), record=record)
    text = (out / MARKER).read_text(encoding="utf-8")
    found = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert found["notice"] == NOTICE
    begin, end = (datetime.fromisoformat(found[k]) for k in ("started_utc", "finished_utc"))
    assert begin <= end
    assert begin.utcoffset().total_seconds() == 0
    options = {"preset": "paper", "steps": 25, "seed": 7, "overrides": {"lr": 0.5}}
    assert found["options"] == options
    assert Path(sys.argv[0]).name in found["command"]
    fixed = found["inputs"]["fixed"]
    content = (tmp_path / "mri.nii.gz").read_bytes()
    assert fixed["path"] == str(tmp_path / "mri.nii.gz")
    assert fixed["bytes"] == len(content)
    assert fixed["sha256"] == hashlib.sha256(content).hexdigest()
    assert found["inputs"]["moving"]["kind"] == "folder"
    assert found["prior"]["sha256"] == hashlib.sha256(b"weights").hexdigest()
    for name in OUTPUT_NAMES:
        written = (out / name).read_bytes()
        assert found["outputs"][name] == {
            "bytes": len(written),
            "sha256": hashlib.sha256(written).hexdigest(),
        }
    assert found["software"]["monai-ddfm"] == metadata.version("monai-ddfm")
    assert found["software"]["torch"] == torch.__version__
    assert found["software"]["python"] == sys.version.split()[0]
    assert found["software"]["os"]
    assert found["hardware"]["device"] == "cpu"
    assert found["reports"]["registration"]["moving"]["verdict"] == "ok"
    assert found["bound"]["largest"] < 1e-6
    assert found["seconds"]["total"] >= found["seconds"]["writing"] > 0
    assert found["memory"]["peak_rss_bytes"] > 1e8
    assert found["memory"]["peak_device_bytes"] is None


def test_the_next_case_has_times_of_its_own(few, tmp_path):
    record = RunRecord()
    record.mark("loading")
    save(tmp_path / "a", few, record=record)
    save(tmp_path / "b", few, record=record)
    first, second = (json.loads((tmp_path / n / MARKER).read_text()) for n in "ab")
    assert "loading" in first["seconds"]
    assert "loading" not in second["seconds"]
    assert first["finished_utc"] <= second["started_utc"]


def test_a_real_subject(shared, tmp_path):
    """The T1 volume, with its own grid, survives the way through all files."""
    source = shared / "data" / "mr_pet_subject" / "t1.nii.gz"
    fixed = LoadVolume(modality="MR")(source)
    fused = (fixed / fixed.max()).clamp(0, 1)
    case = {"fixed": fixed, "moving": fixed.clone(), "fused": fused}
    summary = save(tmp_path / "out", case, record=RunRecord(inputs={"fixed": source}))
    assert sorted(summary["files"]) == sorted(
        ("fused.nii.gz", "moving_registered.nii.gz", "preview.png", "report.html", MARKER)
    )
    written, original = nib.load(summary["files"]["moving_registered.nii.gz"]), nib.load(source)
    np.testing.assert_array_equal(written.affine, original.affine)
    np.testing.assert_array_equal(np.asarray(written.dataobj), np.asarray(original.dataobj))
    found = json.loads((tmp_path / "out" / MARKER).read_text())
    assert found["inputs"]["fixed"]["sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
