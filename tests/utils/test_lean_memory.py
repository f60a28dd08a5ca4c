"""What keeps the memory small: shared and released voxels, slabs, the evaluator's one owner."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.data import DataLoader, Dataset, MetaTensor, list_data_collate
from monai.inferers import SimpleInferer
from monai.transforms import Compose

from monai_ddfm.inferers import FusionEvaluator, collate_cases
from monai_ddfm.transforms.sources import ReleaseSourcesd
from monai_ddfm.transforms.utility import ReleaseVoxelsd, ShareItemsd
from monai_ddfm.utils.reports import add_report, reports_of
from monai_ddfm.utils.slabs import slabs


def volume(*shape: int, seed: int = 0, affine: Any = None) -> MetaTensor:
    values = torch.rand(shape, generator=torch.Generator().manual_seed(seed))
    made = MetaTensor(values, affine=torch.eye(4) if affine is None else affine)
    made.meta["units"] = "HU"
    add_report(made, "reading", {"seed": seed})
    return made


@given(st.lists(st.integers(1, 12), min_size=1, max_size=4), st.integers(1, 200))
def test_slabs_are_the_whole_and_small(shape: list[int], most: int) -> None:
    parts = list(slabs(shape, most_voxels=most))
    rows = [row for part in parts for row in range(shape[0])[part]]
    assert rows == list(range(shape[0]))
    one = int(np.prod(shape[1:]))
    assert all((part.stop - part.start) * one <= max(most, one) for part in parts)


def test_a_second_name_shares_voxels_and_not_metadata() -> None:
    case = {"fixed": volume(1, 4, 5, 6)}
    shared = ShareItemsd("fixed", "fixed_source")(case)
    assert shared["fixed_source"].data_ptr() == case["fixed"].data_ptr()
    assert shared["fixed_source"].meta["units"] == "HU"
    add_report(shared["fixed_source"], "reading", {"seed": 9})
    assert reports_of(case["fixed"])["reading"] == {"seed": 0}
    with pytest.raises(ValueError, match="names"):
        ShareItemsd(["fixed", "moving"], "one")


def test_released_voxels_keep_shape_and_reports() -> None:
    case = ReleaseVoxelsd(["image", "absent"], allow_missing_keys=True)(
        {"image": volume(2, 4, 5, 6)}
    )
    image = case["image"]
    assert image.shape == (2, 4, 5, 6)
    assert image.untyped_storage().nbytes() == 4
    assert bool(image.isnan().all())
    assert reports_of(image)["reading"] == {"seed": 0}
    torch.testing.assert_close(image.affine, torch.eye(4, dtype=torch.float64))


@pytest.mark.parametrize(("scale", "dropped"), [(-1.0, True), (0.5, False)])
def test_the_moving_source_goes_where_nothing_is_resampled_again(
    scale: float, dropped: bool
) -> None:
    loaded = torch.diag(torch.tensor([scale, 1.0, 1.0, 1.0], dtype=torch.float64))
    if scale < 0:
        loaded[0, 3] = 3.0
    case = {
        "moving": volume(1, 4, 5, 6),
        "moving_source": volume(1, 7, 7, 7),
        "fixed_source": volume(1, 4, 5, 6, affine=loaded),
    }
    assert ("moving_source" not in ReleaseSourcesd()(case)) == dropped


@pytest.mark.parametrize("count", [1, 2])
def test_a_batch_is_what_monai_makes_of_it(count: int) -> None:
    cases = [
        {"image": volume(2, 4, 5, 6, seed=n), "name": f"case {n}", "figures": {"mean": 0.5 * n}}
        for n in range(count)
    ]
    batch, expected = collate_cases(cases), list_data_collate(cases)
    assert batch.keys() == expected.keys()
    assert batch["name"] == expected["name"]
    torch.testing.assert_close(batch["figures"], expected["figures"])
    torch.testing.assert_close(batch["image"].as_tensor(), expected["image"].as_tensor())
    assert batch["image"].is_batch
    assert batch["image"].meta.keys() == expected["image"].meta.keys()
    assert batch["image"].applied_operations == expected["image"].applied_operations
    shares = batch["image"].data_ptr() == cases[0]["image"].data_ptr()
    assert shares == (count == 1)


class Twice(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * x


def test_nothing_is_held_that_the_chain_has_dropped() -> None:
    arrays: list[weakref.ref[Any]] = []
    alive: list[bool] = []

    def load(seed: int) -> dict[str, Any]:
        array = np.full((2, 8, 8), seed, np.float32)
        arrays.append(weakref.ref(array))  # which lives as long as the tensor's memory
        return {"image": MetaTensor(torch.from_numpy(array)), "name": f"case {seed}"}

    def look(case: dict[str, Any]) -> dict[str, Any]:
        gc.collect()
        alive.append(arrays[-1]() is not None)
        return case

    evaluator = FusionEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(Dataset([1, 2], load), batch_size=1, collate_fn=collate_cases),
        network=Twice(),
        inferer=SimpleInferer(),
        postprocessing=Compose([look, ReleaseVoxelsd("image"), Compose([look])]),
    )
    evaluator.run()
    assert alive == [True, False] * 2
    (case,) = evaluator.state.output
    assert case["name"] == "case 2"
    assert float(case["pred"].max()) == 4
    assert evaluator.state.batch == []
