"""The inferer takes smaller batches when memory runs out, and says when none is small enough."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from inferer_makers import from_noise, head, uniform
from run_cases import RecordingNet
from torch import Tensor

from monai_ddfm.errors import InputError
from monai_ddfm.inferers import SamplingProgress
from monai_ddfm.likelihoods.rectifiers import EMRectifier, Rectified


@dataclasses.dataclass(frozen=True)
class Cramped:
    """A rectifier that needs more memory than there is for more than a few images."""

    limit: int
    kind: str = "device"
    inner: EMRectifier = EMRectifier(tv=False)  # noqa: RUF009 - it is immutable

    def initial_state(self, sources: Tensor) -> Any:
        return self.inner.initial_state(sources)

    def step(self, x0: Tensor, sources: Tensor, state: Any, **where: int) -> Rectified[Any]:
        if len(x0) > self.limit and where["index"] == 1:
            if self.kind == "device":
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            torch.empty(1 << 60, dtype=torch.uint8)  # the host's own refusal
        return self.inner.step(x0, sources, state, **where)


@pytest.mark.usefixtures("one_thread")  # more would divide the batch among them
@pytest.mark.parametrize("kind", ["device", "host"])
@pytest.mark.parametrize("limit", [1, 2, 3])
def test_auto_halves_when_memory_runs_out(
    kind: str, limit: int, small: RecordingNet, caplog: pytest.LogCaptureFixture
) -> None:
    volume = head(16, 12, 14, 9)
    expected = from_noise(steps=3, batch_size=1, rectifier=Cramped(99))(volume, small)
    seen: list[SamplingProgress] = []
    inferer = from_noise(steps=3, rectifier=Cramped(limit, kind), progress=seen.append)
    assert torch.equal(inferer(volume, small), expected)
    assert "out of memory with 4 slices" in caplog.text
    finished = [p for p in seen if p.step == p.steps]
    assert max(p.slices_in_batch for p in finished) <= limit
    assert sum(p.slices_in_batch for p in finished) == seen[0].slices


@pytest.mark.usefixtures("one_thread")
def test_memory_that_cannot_be_saved_is_an_input_error(small: RecordingNet) -> None:
    volume = uniform(17, 1, 2, 8, 8, 4)
    with pytest.raises(InputError, match="not enough memory for a single slice"):
        from_noise(steps=2, rectifier=Cramped(0))(volume, small)
    with pytest.raises(InputError, match=r"not enough memory for 3 slices .*auto"):
        from_noise(steps=2, rectifier=Cramped(2), batch_size=3)(volume, small)


def test_other_errors_are_not_taken_for_memory(small: RecordingNet) -> None:
    class Broken(Cramped):
        def step(self, x0: Tensor, sources: Tensor, state: Any, **where: int) -> Rectified[Any]:
            raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        from_noise(steps=2, rectifier=Broken(0))(uniform(17, 1, 2, 8, 8, 4), small)
