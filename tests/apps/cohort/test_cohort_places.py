"""Where a cohort is computed: profiles of clusters, and workers by cores and memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from monai_ddfm.apps.cohort.clusters import choose_site
from monai_ddfm.apps.cohort.profiles import read_profile
from monai_ddfm.errors import InputError

pytest.importorskip("bids", reason="needs the extra cohort")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("scheduler: slurm\nworkers: 2\nqueue: long\n", "unknown entry 'queue'"),
        ("scheduler: cron\n", "names the scheduler 'cron'"),
        ("scheduler: slurm\nworkers: many\n", "no usable number"),
        ("- slurm\n", "is no profile"),
        ("scheduler: [\n", "cannot be read as YAML"),
        ("scheduler: lsf\n", "bsub is not installed"),
        ("scheduler: pbs\noptions: [1]\n", "no list of names"),
    ],
)
def test_profile_that_cannot_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    path = tmp_path / "profile.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=said):
        read_profile(path)


def test_place_is_chosen_by_cores_and_memory() -> None:
    def choose(workers: int | None, voxels: int) -> int:
        return choose_site(
            workers=workers, profile=None, address="", device="cpu", voxels=voxels
        ).workers

    assert choose(3, 0) == 3
    assert choose(None, 10**12) == 1
    assert choose(None, 0) >= 1
    with pytest.raises(InputError, match="--nprocs 0"):
        choose(0, 0)
