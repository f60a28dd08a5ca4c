"""Another run replaces the results before they are sent or copied: none goes out as the other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from dicom_fusions import demo_case

from monai_ddfm.data.writers.bids import write_bids
from monai_ddfm.data.writers.dicom import SaveFusionDicomd
from monai_ddfm.errors import InputError
from monai_ddfm.utils.hashes import describe_file


def test_objects_of_another_run_are_not_sent(tmp_path: Path) -> None:
    case = demo_case("PET", "nifti")
    ours = SaveFusionDicomd(tmp_path, modality="PET", push="http://127.0.0.1:9/dicom-web")
    staged = tmp_path / "ours"

    def path(name: str) -> Path:
        (staged / name).parent.mkdir(parents=True, exist_ok=True)
        return staged / name

    series, names = ours.stage(case, path)
    SaveFusionDicomd(tmp_path, modality="PET")(case)
    with pytest.raises(InputError, match="was replaced by another run before it was sent"):
        ours.finish(case, series, names)


@pytest.mark.parametrize("name", ["fused.nii.gz", "transform.tfm"])
def test_volumes_of_another_run_are_not_copied(tmp_path: Path, name: str) -> None:
    results = {}
    for one in ("fused.nii.gz", "weight.nii.gz", "transform.tfm"):
        results[one] = tmp_path / one
        results[one].write_bytes(one.encode())
    hashes = {one: describe_file(file)["sha256"] for one, file in results.items()}
    about = {"modality": "PET", "sources": [], "subject": "01", "hashes": hashes}
    write_bids(tmp_path / "sound", results, **about)
    results[name].write_bytes(b"of another run")
    with pytest.raises(InputError, match="was replaced by another run before it was copied"):
        write_bids(tmp_path / "bids", results, **about)
    results[name].unlink()
    with pytest.raises(InputError, match="was replaced by another run before it was copied"):
        write_bids(tmp_path / "bids", results, **about)
    assert not (tmp_path / "bids").exists()


_TRIALS = """
import sys
from pathlib import Path
from monai_ddfm.utils.files import StagedFolder
print("ready", flush=True)
sys.stdin.readline()
for k in range(40):
    with StagedFolder(Path(sys.argv[1]) / str(k), marker=sys.argv[2]) as staged:
        staged.path(sys.argv[2]).touch()
"""


def test_two_that_make_the_same_folder(tmp_path: Path) -> None:
    """Each removes what its trial has made: the other makes it again."""
    call = [sys.executable, "-c", _TRIALS, str(tmp_path)]
    both = [
        subprocess.Popen([*call, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for name in ("a", "b")
    ]
    for one in both:
        assert one.stdout is not None
        assert one.stdout.readline() == "ready\n"
    for one in both:
        assert one.stdin is not None
        one.stdin.write("\n")
        one.stdin.flush()
    assert [one.wait(timeout=100) for one in both] == [0, 0]
    for one in both:
        one.communicate()
    assert all({p.name for p in (tmp_path / str(k)).iterdir()} == {"a", "b"} for k in range(40))
