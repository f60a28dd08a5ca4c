"""A disk that is full after more and more of the results: one sentence, and nothing half-written.

The disk is a real file system of a few hundred kilobytes in memory, which only root can mount.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image
from run_cases import command, demo_subject, one_sentence, saved_prior

FAST = ("--steps", "2", "--registration", "none", "--device", "cpu")
SHARES = (0.0, 0.4, 0.95)


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    """A file system of so many bytes."""
    folder.mkdir()
    call = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    try:
        subprocess.run(call, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        folder.rmdir()
        pytest.skip("a small file system can be mounted by root only")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
        folder.rmdir()


def room_for(folder: Path) -> int:
    """Bytes that its files take on a disk of pages of 4 kB, folders included."""
    return sum(4096 * (1 + path.stat().st_size // 4096) for path in folder.rglob("*"))


def content(folder: Path) -> dict[str, str]:
    """Every file but the finished slices that a run keeps for the next."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.parent.name.startswith(".ddfm-work-")
    }


@pytest.mark.slow
@pytest.mark.parametrize("form", ["nifti", "dicom", "both"])
def test_a_fusion(tmp_path: Path, capfd: pytest.CaptureFixture[str], form: str) -> None:
    subject, prior = demo_subject(tmp_path, dicom=True), saved_prior(tmp_path)

    def run(out: Path, seed: int) -> tuple[int, str]:
        status, _, err = command(
            capfd, "fuse", "--fixed", subject.fixed_dicom, "--moving", subject.moving_dicom,
            "--modality", "PET", "--format", form, "--seed", seed, "--prior", prior, *FAST,
            "-o", out,
        )  # fmt: skip
        return status, err

    whole = tmp_path / "whole"
    assert run(whole, 0)[0] == 0
    need = room_for(whole)
    for share in SHARES:
        with small_disk(tmp_path / "disk", need + int(share * need) + 8192) as disk:
            shutil.copytree(whole, disk / "used")
            before = content(disk)
            status, err = run(disk / "used", 1)
            assert status == 2, share
            assert f"Cannot write {disk}" in one_sentence(err)
            assert "the disk is full: free some space" in err
            assert content(disk) == before
            status, err = run(disk / "fresh", 1)
            assert status == 2, share
            assert "the disk is full: free some space" in one_sentence(err)
            assert content(disk) == before
            call = ["mount", "-o", f"remount,size={4 * need}", str(disk)]
            subprocess.run(call, check=True, capture_output=True)
            status, err = run(disk / "used", 1)
            assert status == 0, err
            assert content(disk).keys() == before.keys()
            assert content(disk) != before
            assert not list((disk / "used").glob(".ddfm-*"))


@pytest.mark.slow
def test_a_picture(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    prior = saved_prior(tmp_path)
    for name in ("a", "b"):
        Image.effect_noise((128, 128), 80).save(tmp_path / f"{name}.png")
    with small_disk(tmp_path / "disk", 16384) as disk:
        status, _, err = command(
            capfd, "fuse-2d", tmp_path / "a.png", tmp_path / "b.png", "-o", disk / "c.png",
            "--modality", "IR", "--steps", "2", "--device", "cpu", "--prior", prior,
        )  # fmt: skip
        assert status == 2
        assert "the disk is full: free some space" in one_sentence(err)
        assert content(disk) == {}
