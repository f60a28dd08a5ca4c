"""The provenance: times, hashes, reports, memory and the bound."""

from __future__ import annotations

import hashlib
import json
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from monai_ddfm.data.writers.bound import CheckBoundd, excess_over_sources
from monai_ddfm.data.writers.provenance import MarkStage, RunRecord, collect_provenance, peak_memory
from monai_ddfm.errors import InputError
from monai_ddfm.utils.hashes import describe_input, sha256_of
from monai_ddfm.utils.json_files import jsonable, write_json
from monai_ddfm.utils.reports import add_report, collect_reports


def test_stages_take_the_time_since_the_last_mark():
    record = RunRecord()
    time.sleep(0.02)
    assert MarkStage(record, "first")("data") == "data"
    with record.stage("second"):
        time.sleep(0.04)
    record.mark("first")
    found = record.seconds()
    assert list(found) == ["first", "other", "second", "total"]
    assert found["first"] >= 0.02
    assert found["second"] >= 0.04 > found["other"]
    assert found["total"] >= sum(v for k, v in found.items() if k != "total") - 0.003


def test_a_report_that_several_volumes_carry_is_listed_once():
    case = {"moving": MetaTensor(torch.zeros(1, 2, 2, 2)), "note": "no volume"}
    add_report(case["moving"], "registration", {"verdict": "ok"})
    case |= {"copy": case["moving"].clone(), "other": case["moving"].clone()}
    add_report(case["other"], "registration", {"verdict": "warn"})
    assert collect_reports(case) == {
        "registration": {"moving": {"verdict": "ok"}, "other": {"verdict": "warn"}}
    }


def test_the_excess_is_the_distance_from_the_box_between_the_sources():
    sources = torch.tensor([[-0.5, 0.0, 0.2], [0.5, 0.0, 0.1]])[:, :, None, None]
    fused = torch.tensor([0.5, 0.25, 0.05])[:, None, None]
    found = excess_over_sources(fused, sources)
    assert found["largest"] == pytest.approx(0.25)
    assert found["mean"] == pytest.approx(0.1)
    assert found["voxels_outside"] == 2
    assert found["voxels"] == 3


def test_values_beyond_the_scale_are_counted_before_they_are_clipped():
    sources = torch.zeros(2, 4, 1, 1)
    fused = torch.tensor([1.5, -1.25, 1.0, 0.5])[:, None, None]
    assert excess_over_sources(fused, sources)["beyond_scale"] == 2


def test_the_bound_is_checked_on_the_first_channel_and_all_sources():
    image = torch.rand(2, 3, 4, 5) * 2 - 1
    case = {"image": MetaTensor(image), "pred": torch.stack([image.mean(0), image[0] + 9])}
    assert CheckBoundd()(case)["bound"]["largest"] == 0
    case["pred"][0, 0, 0, 0] = 1.75
    separate = {"pred": case["pred"], "a": case["image"][:1], "b": case["image"][1:]}
    above = 1.75 - float(case["image"][:, 0, 0, 0].max())
    found = CheckBoundd(source_keys=("a", "b"), output_key="x")(separate)["x"]
    assert found["largest"] == pytest.approx(above)
    assert found["voxels_outside"] == 1


def test_the_hash_of_a_folder_is_what_sha256sum_gives(tmp_path):
    folder = tmp_path / "series"
    (folder / "sub").mkdir(parents=True)
    for name in ("b.dcm", "a ü.dcm", "sub/c.dcm", "sub-d.dcm"):
        (folder / name).write_text(name)
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.dcm"))
    lines = subprocess.run(
        ["sha256sum", *names], cwd=folder, check=True, capture_output=True
    ).stdout
    found = describe_input(folder)
    assert found["sha256"] == sha256_of(folder) == hashlib.sha256(lines).hexdigest()
    assert found["files"] == 4
    assert found["bytes"] == sum(len(name.encode()) for name in names)


def test_a_missing_input_is_named(tmp_path):
    with pytest.raises(InputError, match=r"missing\.nii.*check the path"):
        sha256_of(tmp_path / "missing.nii")
    with pytest.raises(InputError, match=r"missing\.nii"):
        collect_provenance(RunRecord(inputs={"fixed": tmp_path / "missing.nii"}), {})


def test_whatever_a_run_has_at_hand_becomes_json(tmp_path):
    content = {
        1: (np.int64(2), np.float32(0.5), torch.tensor([1.0, float("inf")])),
        "path": tmp_path,
        "none": None,
        "yes": True,
        "nan": float("nan"),
        "broken name": "a\udcffb",
    }
    write_json(tmp_path / "x.json", content)
    assert json.loads((tmp_path / "x.json").read_bytes()) == {
        "1": [2, 0.5, [1.0, None]],
        "path": str(tmp_path),
        "none": None,
        "yes": True,
        "nan": None,
        "broken name": "a\udcffb",
    }
    assert jsonable({"a": {3}}) == {"a": [3]}


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux")
def test_the_peak_is_that_of_this_process():
    before = peak_memory()["peak_rss_bytes"]
    ballast = np.ones(50_000_000)
    assert peak_memory()["peak_rss_bytes"] >= before
    resident = 4096 * int(Path("/proc/self/statm").read_text().split()[1])
    assert peak_memory()["peak_rss_bytes"] >= 0.95 * resident
    assert ballast.sum() == ballast.size
