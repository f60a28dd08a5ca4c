"""Notes that travel with a volume."""

from __future__ import annotations

import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor, decollate_batch
from monai.transforms import Compose, ConcatItemsd, CopyItemsd, ScaleIntensityd, SplitDimd

from monai_ddfm.utils.reports import add_report, reports_of

REPORT = {"method": "rigid", "figures": [1.5, 2], "nested": {"ok": True, "none": None}}


def volume() -> MetaTensor:
    return MetaTensor(torch.arange(8.0).reshape(1, 2, 2, 2), affine=torch.eye(4))


def test_added_read_replaced() -> None:
    tensor = volume()
    assert reports_of(tensor) == {}
    add_report(tensor, "registration", REPORT)
    add_report(tensor, "intensity", {"lower": -1})
    assert reports_of(tensor) == {"registration": REPORT, "intensity": {"lower": -1}}
    add_report(tensor, "intensity", {"upper": 2})
    assert reports_of(tensor)["intensity"] == {"upper": 2}


def test_a_report_is_a_copy() -> None:
    tensor, report = volume(), {"values": [1]}
    add_report(tensor, "step", report)
    report["values"].append(2)
    reports_of(tensor)["step"]["values"].append(3)
    assert reports_of(tensor) == {"step": {"values": [1]}}


def test_other_metadata_is_left_alone() -> None:
    tensor = volume()
    tensor.meta["filename_or_obj"] = "a.nii"
    tensor.meta[7] = "a key that is no text"
    add_report(tensor, "step", {})
    assert reports_of(tensor) == {"step": {}}
    assert tensor.meta["filename_or_obj"] == "a.nii"


def test_what_json_does_not_know_is_refused() -> None:
    with pytest.raises(TypeError):
        add_report(volume(), "step", {"tensor": torch.zeros(1)})


def test_batches_and_transforms_keep_it() -> None:
    tensor = volume()
    add_report(tensor, "registration", REPORT)
    other = volume()
    add_report(other, "registration", {"method": "none"})
    steps = Compose(
        [CopyItemsd("a", names="b"), ScaleIntensityd("b"), ConcatItemsd(["a", "b"], name="c")]
    )
    loader = DataLoader(Dataset([{"a": tensor}, {"a": other}], steps), batch_size=2)
    cases = decollate_batch(next(iter(loader)))
    for case, expected in zip(cases, (REPORT, {"method": "none"}), strict=True):
        case = SplitDimd("c", output_postfixes=["0", "1"], update_meta=False)(case)  # noqa: PLW2901
        for key in ("a", "b", "c", "c_0"):
            assert reports_of(case[key]) == {"registration": expected}
