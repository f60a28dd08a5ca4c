"""Files are complete or absent, whatever happens."""

from __future__ import annotations

import errno
import multiprocessing as mp
import os
import signal
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from monai_ddfm.data.writers.nifti import write_nifti
from monai_ddfm.errors import InputError
from monai_ddfm.utils.files import StagedFolder, atomic_path, prepare_output_dir

MARKER = "done.json"


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def leave(folder: Path, **files: str) -> None:
    with StagedFolder(folder, marker=MARKER, owned=("a.txt", "b.txt")) as staged:
        for name, text in files.items():
            staged.path(f"{name}.txt").write_text(text)
        staged.path(MARKER).write_text("{}")


@contextmanager
def mounted(folder: Path, options: str):
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a small file system can be mounted by root only")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_atomic_path_renames_when_the_block_succeeds(tmp_path):
    path = tmp_path / "x.nii.gz"
    with atomic_path(path) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.endswith("x.nii.gz")
        temporary.write_bytes(b"new")
        assert not path.exists()
    assert contents(tmp_path) == {"x.nii.gz": b"new"}


def test_atomic_path_keeps_the_old_file_when_the_block_fails(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text("old")

    def interrupted():
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert contents(tmp_path) == {"x.txt": b"old"}


def test_files_get_the_usual_permissions(tmp_path):
    with atomic_path(tmp_path / "atomic") as temporary:
        temporary.write_text("")
    leave(tmp_path / "set", a="")
    (tmp_path / "plain").write_text("")
    plain = (tmp_path / "plain").stat().st_mode
    assert (tmp_path / "atomic").stat().st_mode == plain
    assert (tmp_path / "set" / "a.txt").stat().st_mode == plain


def test_staged_folder_shows_nothing_before_the_end(tmp_path):
    folder = tmp_path / "deep" / "ünder score"
    with StagedFolder(folder, marker=MARKER) as staged:
        staged.path("a.txt").write_text("a")
        staged.path("sub/b.txt").write_text("b")
        staged.path(MARKER).write_text("{}")
        assert all(part.startswith(".ddfm-partial-") for part in names(folder))
    assert contents(folder) == {"a.txt": b"a", "sub/b.txt": b"b", MARKER: b"{}"}


def test_the_marker_appears_last(tmp_path, monkeypatch):
    order = []
    replace = Path.replace
    monkeypatch.setattr(
        Path,
        "replace",
        lambda self, target: (order.append(Path(target).name), replace(self, target)),
    )
    with StagedFolder(tmp_path, marker="b") as staged:
        for name in ("a", "b", "c"):
            staged.path(name).write_text(name)
    assert order == ["a", "c", "b"]


def test_a_set_without_its_marker_is_refused(tmp_path):
    with pytest.raises(RuntimeError, match="marker"), StagedFolder(tmp_path, marker=MARKER) as set_:
        set_.path("a.txt").write_text("a")
    assert contents(tmp_path) == {}


def test_a_name_may_not_lead_out_of_the_folder(tmp_path):
    with (
        pytest.raises(ValueError, match="leads out"),
        StagedFolder(tmp_path / "in", marker=MARKER) as set_,
    ):
        set_.path("../../escaped")


def test_a_failed_run_leaves_earlier_results_as_they_were(tmp_path):
    leave(tmp_path, a="old", b="old")

    def fail():
        with StagedFolder(tmp_path, marker=MARKER, owned=("a.txt", "b.txt")) as staged:
            staged.path("a.txt").write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert contents(tmp_path) == {"a.txt": b"old", "b.txt": b"old", MARKER: b"{}"}
    assert names(tmp_path) == ["a.txt", "b.txt", MARKER]


def test_a_failed_run_leaves_no_new_folder(tmp_path):
    folder = tmp_path / "new" / "er"
    with pytest.raises(ZeroDivisionError), StagedFolder(folder, marker=MARKER):
        raise ZeroDivisionError
    assert not (tmp_path / "new").exists()


def test_files_of_two_runs_never_stand_side_by_side(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    leave(tmp_path, a="first", b="first")
    leave(tmp_path, a="second")
    assert contents(tmp_path) == {"a.txt": b"second", MARKER: b"{}", "notes.txt": b"mine"}


def test_a_failure_within_the_renaming_takes_the_marker_away(tmp_path, monkeypatch):
    leave(tmp_path, a="old", b="old")
    replace = Path.replace

    def fail_at_b(self, target):
        if Path(target).name == "b.txt":
            raise OSError(5, "Input/output error")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", fail_at_b)
    with pytest.raises(InputError, match="Input/output error"):
        leave(tmp_path, a="new", b="new")
    assert contents(tmp_path) == {"a.txt": b"new", "b.txt": b"old"}


def test_leftovers_of_a_dead_run_are_swept_and_those_of_a_live_run_are_not(tmp_path):
    live = StagedFolder(tmp_path, marker=MARKER)
    dead = tmp_path / ".ddfm-partial-dead"
    dead.mkdir()
    (dead / ".lock").touch()
    (dead / "a.txt").write_text("half")
    with live:
        live.path("a.txt").write_text("live")
        with StagedFolder(tmp_path, marker="other") as other:
            assert not dead.exists()
            other.path("other").write_text("")
        live.path(MARKER).write_text("{}")
    assert contents(tmp_path) == {"a.txt": b"live", MARKER: b"{}", "other": b""}


def write_a_set(folder: Path) -> None:
    noise = np.random.default_rng(0).random((250, 250, 250), dtype=np.float32)
    with StagedFolder(folder, marker=MARKER, owned=("a.txt", "b.txt")) as staged:
        staged.path("a.txt").write_text("new")
        write_nifti(staged.path("b.nii.gz"), noise, np.eye(4))
        staged.path(MARKER).write_text("too late")


@pytest.mark.skipif("fork" not in mp.get_all_start_methods(), reason="no fork on this system")
def test_a_run_killed_while_writing_leaves_earlier_results_and_the_next_run_sweeps(tmp_path):
    leave(tmp_path, a="old", b="old")
    child = mp.get_context("fork").Process(target=write_a_set, args=(tmp_path,))
    child.start()
    while child.is_alive():
        sizes = [path.stat().st_size for path in tmp_path.glob(".ddfm-partial-*/*b.nii.gz")]
        if sum(sizes) > 1_000_000:
            break
        time.sleep(0.005)
    child.kill()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    seen = {k: v for k, v in contents(tmp_path).items() if not k.startswith(".ddfm-partial-")}
    assert seen == {"a.txt": b"old", "b.txt": b"old", MARKER: b"{}"}
    assert len(contents(tmp_path)) > len(seen)
    leave(tmp_path, a="newer")
    assert contents(tmp_path) == {"a.txt": b"newer", MARKER: b"{}"}
    assert names(tmp_path) == ["a.txt", MARKER]


def test_prepare_leaves_nothing(tmp_path):
    folder = tmp_path / "a" / "b"
    assert prepare_output_dir(folder) == folder
    assert not (tmp_path / "a").exists()
    before = tmp_path.stat().st_mode
    assert prepare_output_dir(tmp_path) == tmp_path
    assert names(tmp_path) == []
    assert tmp_path.stat().st_mode == before


def test_prepare_makes_the_path_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert prepare_output_dir("out") == tmp_path / "out"


@pytest.mark.parametrize("path", ["", "  ", "a\0b"])
def test_no_path_is_refused(path):
    with pytest.raises(InputError, match="is not a path"):
        prepare_output_dir(path)


def test_a_file_is_refused_as_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="it is a file"):
        prepare_output_dir(tmp_path / "file")
    with pytest.raises(InputError, match="part of the path is a file"):
        prepare_output_dir(tmp_path / "file" / "below")


def test_a_folder_with_the_name_of_a_result_is_refused(tmp_path):
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(InputError, match=r"a\.txt.*folder of that name"):
        prepare_output_dir(tmp_path, names=["a.txt"])


def test_a_path_that_is_too_long_is_refused(tmp_path):
    with pytest.raises(InputError, match="too long"):
        prepare_output_dir(tmp_path / ("x" * 300))


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc on this system")
def test_a_folder_where_nobody_may_write_is_refused():
    with pytest.raises(InputError, match=r"Cannot write /proc/ddfm: .*choose another folder"):
        prepare_output_dir("/proc/ddfm")


def test_a_read_only_file_system_is_refused(tmp_path):
    with (
        mounted(tmp_path / "disk", "ro,size=1m") as disk,
        pytest.raises(InputError, match="read-only"),
    ):
        prepare_output_dir(disk / "out")


def test_a_disk_that_fills_up_leaves_earlier_results(tmp_path):
    with mounted(tmp_path / "disk", "size=256k") as disk:
        leave(disk, a="old")
        with (
            pytest.raises(InputError, match=rf"{disk}: the disk is full: free some space"),
            StagedFolder(disk, marker=MARKER, owned=("a.txt",)) as staged,
        ):
            staged.path("a.txt").write_bytes(bytes(1_000_000))
        assert contents(disk) == {"a.txt": b"old", MARKER: b"{}"}
        (disk / "ballast").write_bytes(bytes(4096 * (os.statvfs(disk).f_bavail)))
        with pytest.raises(InputError, match="the disk is full"):
            prepare_output_dir(disk / "out")


def test_words_of_a_library_give_way_to_those_of_the_system(tmp_path):
    full = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(InputError) as caught, atomic_path(tmp_path / "a.dcm"):
        raise OSError("With tag (7FE0,0010) got exception:\nTraceback") from full
    assert "the disk is full" in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError) as caught, atomic_path(tmp_path / "a.dcm"):
        raise OSError("odd\nand long")
    assert "odd: choose another folder" in str(caught.value)
    assert not list(tmp_path.iterdir())
