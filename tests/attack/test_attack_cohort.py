"""A cohort of 200 tiny subjects of which ten are poisonous: 190 right, 10 explained."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import psutil
import pydicom
import pytest
from cohort_makers import FAST, save, volumes
from hostile_files import metaimage, nifti
from pydicom.encaps import encapsulate, generate_frames
from run_cases import saved_prior
from seeds import dicom

pytestmark = pytest.mark.slow
COUNT = int(os.environ.get("ATTACK_SUBJECTS", "200"))
DIFFERENT = 4  # volumes; that more subjects have the same is no matter here
LIMIT_S = float(os.environ.get("ATTACK_LIMIT", "60"))  # a busy machine may need more


def poisons(folder: Path) -> dict[str, tuple[Path, str]]:
    """Volumes that must be refused, with a word of the reason: moving ones, but for the slow."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    os.mkfifo(folder / "fifo.nii")
    (folder / "device.nii").symlink_to("/dev/zero")
    (folder / "empty").mkdir()
    bad = save(folder / "nan.nii.gz", volumes(1)[1])
    image = nib.load(bad)
    nib.save(nib.Nifti1Image(np.full(image.shape, np.nan, np.float32), image.affine), bad)
    cut = save(folder / "cut.nii.gz", volumes(1)[1])
    cut.write_bytes(gzip.compress(gzip.decompress(cut.read_bytes())[:2000]))
    slow = folder / "slow.nii.gz"
    nib.save(nib.Nifti1Image(rng.integers(0, 255, (420, 420, 420), np.uint8), np.eye(4)), slow)
    return {
        "fifo": (folder / "fifo.nii", "ordinary file"),
        "device": (folder / "device.nii", "ordinary file"),
        "folder": (folder / "empty", "no DICOM images"),
        "nan": (bad, "NaN"),
        "cut": (cut, "Expected"),
        "bomb": (nifti(folder / "bomb.nii.gz", (1000, 1000, 1000)), "cannot hold"),
        "segv": (metaimage(folder / "segv.mhd", "d.raw", NDims="-1"), "NDims"),
        "path": (metaimage(folder / "path.mha", "/etc/passwd"), "plain name"),
        "codec": (crashing(folder / "codec"), "cannot be decoded"),
        "slow": (slow, "it took more than"),
    }


def crashing(folder: Path) -> Path:
    """A series whose frames crash their decoder."""
    folder.mkdir()
    path = dicom(folder / "a.dcm", "jpeg")
    dataset = pydicom.dcmread(path)
    frame = next(generate_frames(dataset.PixelData, number_of_frames=4))
    odd = frame.replace(b"\xff\xc0", bytes(8) + b"\xff\xc0", 1)
    dataset.PixelData = encapsulate([odd, frame, frame, frame])
    dataset.ImageOrientationPatient, dataset.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, 0]
    dataset.PixelSpacing, dataset.SpacingBetweenSlices = [2, 2], 2
    dataset.save_as(path)
    return folder


def test_two_hundred_of_which_ten_are_poisonous(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    made = []
    for number in range(1, DIFFERENT + 1):
        mri, pet = volumes(number)
        made.append(
            (save(source / f"{number}_T1w.nii.gz", mri), save(source / f"{number}_pet.nii.gz", pet))
        )
    bad = poisons(source / "bad")
    places = {int((k + 0.5) * COUNT / len(bad)): name for k, name in enumerate(bad)}
    rows = ["subject,fixed,moving,modality"]
    for number in range(COUNT):
        fixed, moving = made[number % DIFFERENT]
        if places.get(number) == "slow":  # results are on the grid of the MRI
            fixed = bad["slow"][0]
        elif number in places:
            moving = bad[places[number]][0]
        rows.append(f"{number:03d},{fixed},{moving},PET")
    (source / "pairs.csv").write_text("\n".join(rows) + "\n")
    out = tmp_path / "out"
    call = [sys.executable, "-m", "monai_ddfm", "cohort", source / "pairs.csv", out, "participant",
            "--nprocs", "2", "--progress", "json", "--time-limit", str(LIMIT_S / 3600),
            "--prior", saved_prior(tmp_path), *FAST]  # fmt: skip
    with (tmp_path / "told").open("w") as told:
        process = subprocess.Popen(list(map(str, call)), stdout=told, stderr=subprocess.STDOUT)
    held = memory_of(process)
    events = [
        json.loads(line) for line in (tmp_path / "told").read_text().splitlines() if line[:1] == "{"
    ]
    end = events[[event["event"] for event in events].index("end")]
    quarter = max(1, len(held) // 4)
    early, late = np.median(held[quarter : 2 * quarter]), np.median(held[-quarter:])
    print(json.dumps({
        "subjects": COUNT, "seconds": end["seconds"],
        "overhead_seconds_per_case": end.get("overhead_seconds_per_case"),
        "command_mebibytes": [round(v) for v in held[:: max(1, len(held) // 12)]],
    }))  # fmt: skip
    assert process.returncode == 100 + len(bad), (tmp_path / "told").read_text()[-3000:]
    assert end["done"] == COUNT - len(bad)
    reasons = {e["case"]: e["reason"] for e in events if e["event"] == "failed"}
    reasons |= dict(
        event["text"].removeprefix("problem  ").split(": ", 1)
        for event in events
        if event["event"] == "message" and event["text"].startswith("problem  ")
    )
    assert len(reasons) == len(bad), reasons
    page = (out / "group.html").read_text()
    for number, name in places.items():
        (who,) = (key for key in reasons if key.startswith(f"sub-{number:03d}"))
        assert bad[name][1] in reasons[who], (name, reasons[who])
        assert who in page
        assert not list(out.glob(f"sub-{number:03d}/**/*fused*"))
    for number in set(range(COUNT)) - set(places):
        assert list(out.glob(f"sub-{number:03d}/**/*desc-fused_pet.nii.gz")), number
    assert not list((tmp_path / "out_work" / "cases").iterdir())
    assert late < 1.15 * early + 20


def memory_of(process: subprocess.Popen[bytes]) -> list[float]:
    """Wait for a command; MiB that it held, every second. The scheduler is a part of it."""
    held: list[float] = []
    about = psutil.Process(process.pid)
    end = time.monotonic() + 3600
    while process.poll() is None and time.monotonic() < end:
        try:
            held.append(about.memory_info().rss / 2**20)
        except psutil.Error:
            break
        time.sleep(1)
    process.wait(timeout=60)
    return held
