"""One subject of a cohort: no patient is named, and a full disk leaves nothing half-written."""

from __future__ import annotations

import gzip
import os
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
from cohort_makers import OPTIONS, volumes

from monai_ddfm.apps.demo.dicom import write_series

pytest.importorskip("distributed", reason="needs the extra cohort")

from monai_ddfm.apps.cohort.cases import Selection
from monai_ddfm.apps.cohort.finding import find_cases
from monai_ddfm.apps.cohort.fingerprints import Settings
from monai_ddfm.apps.cohort.planning import make_plan
from monai_ddfm.apps.cohort.records import read_records
from monai_ddfm.apps.cohort.worker import Job, fuse_case


@pytest.mark.parametrize("deidentify", [True, False])
def test_no_patient_is_named(prior: Path, tmp_path: Path, deidentify: bool) -> None:
    """Only DICOM output that is not de-identified has the patient, in its headers."""
    root = tmp_path / "tree" / "Doe^Jane"
    for modality, volume in zip(("MR", "PET"), volumes(1), strict=True):
        write_series(volume, _made(root) / modality, modality=modality, seed=1, scale=4)
    for file in sorted(root.rglob("*.dcm")):
        dataset = pydicom.dcmread(file)
        dataset.PatientID, dataset.PatientName = "SECRET-ID-1", "Doe^Jane"
        dataset.save_as(file)
    found = find_cases(tmp_path / "tree", Selection(), labels={})
    options = OPTIONS | {"deidentify": deidentify, "format": "both", "deterministic_uids": True}
    out, work = _made(tmp_path / "out"), _made(tmp_path / "work")
    settings = Settings(options, prior, "cpu", "x")
    job = Job(found.cases[0], settings, out, work, None, None, 1)
    record = fuse_case(job)
    assert record.status == "done", record.reason
    files = [path for path in out.rglob("*") if path.is_file()]
    assert any(path.suffix == ".dcm" for path in files)
    for path in files:
        if path.suffix == ".dcm" and not deidentify:
            continue
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
        for word in (b"SECRET-ID", b"Doe^Jane", b"DOE^JANE"):
            assert word not in content, path
        assert "Doe" not in str(path.relative_to(out))
    plan = make_plan(found, settings, out)
    assert [entry.state for entry in plan.entries] == ["done"]
    # A damaged slice: the sentence names the role, not the path.
    bad = Path(found.cases[0].moving[0])
    bad.write_bytes(bad.read_bytes()[:-200])
    failed = fuse_case(job)
    assert failed.status == "failed"
    assert "Doe" not in failed.reason + "".join(
        path.read_text(encoding="utf-8") for path in (out / "logs").glob("*")
    )


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def test_a_full_disk_leaves_nothing_half_written(source: Path, prior: Path, tmp_path: Path) -> None:
    out, work = _made(tmp_path / "out"), _made(tmp_path / "work")
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(out)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root may mount a small disk")
    try:
        case = find_cases(source, Selection(), labels={}).cases[0]
        record = fuse_case(Job(case, Settings(OPTIONS, prior, "cpu", "x"), out, work, source))
        assert record.status == "failed"
        assert "the disk is full" in record.reason
        assert not read_records(out)
        assert np.all([path.suffix != ".html" for path in out.rglob("*")])
    finally:
        subprocess.run(["umount", str(out)], check=True)
