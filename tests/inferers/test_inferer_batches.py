"""Neither batches nor threads nor company change a bit of the inferer's result."""

from __future__ import annotations

import dataclasses
import threading
from typing import Any

import pytest
import torch
from inferer_makers import from_noise, head, uniform
from run_cases import RecordingNet, bundle_network
from torch import Tensor

from monai_ddfm.inferers import PRESETS, DDFMInferer, SamplingProgress
from monai_ddfm.likelihoods.rectifiers import EMRectifier, Rectified

# --- batch sizes


def test_a_constant_pair_does_not_depend_on_its_neighbors(small: RecordingNet) -> None:
    pairs = torch.cat((uniform(1, 1, 2, 16, 16), torch.full((1, 2, 16, 16), 0.25)))
    pairs[1, 1] = 0.75
    inferer = from_noise(steps=2)
    assert torch.equal(inferer(pairs, small)[1:], inferer(pairs[1:], small))


@pytest.mark.parametrize("dtype", [None, "bfloat16"])
def test_batch_size_changes_no_bit_with_the_bundled_network(dtype: str | None) -> None:
    network, volume = bundle_network(), head(2, 40, 36, 4)
    results = [
        from_noise(steps=2, batch_size=size, autocast_dtype=dtype, noise="independent")(
            volume, network
        )
        for size in (1, 3, "auto")
    ]
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])
    assert results[0].dtype == torch.float32
    other = from_noise(steps=2, autocast_dtype=dtype, noise="independent", seed=1)
    assert not torch.equal(other(volume, network), results[0])  # the prior has a say


@pytest.mark.parametrize("preset", sorted(PRESETS))
@pytest.mark.parametrize("channels", [1, 3])
def test_batch_size_changes_no_bit_with_any_preset(preset: str, channels: int) -> None:
    network = RecordingNet(in_channels=channels, out_channels=2 * channels)
    volume = head(3, 18, 22, 5)
    results = [
        DDFMInferer(preset=preset, steps=4, batch_size=size)(volume, network) for size in (1, 2, 9)
    ]
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])
    assert results[0].shape == volume.shape
    assert results[0].isfinite().all()


def test_autocast_reaches_the_network(small: RecordingNet) -> None:
    pair = uniform(5, 1, 2, 16, 16)
    exact, fast = (from_noise(steps=3, autocast_dtype=d)(pair, small) for d in (None, "bfloat16"))
    assert not torch.equal(exact, fast)
    torch.testing.assert_close(exact, fast, rtol=0, atol=0.1)
    assert torch.equal(exact, from_noise(steps=3, autocast_dtype="float32")(pair, small))


# --- threads


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("preset", ["default", "paper"])
def test_threads_change_no_bit(preset: str) -> None:
    network, volume = bundle_network(), head(2, 56, 40, 4)
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        inferer = DDFMInferer(preset=preset, steps=3, noise="independent")
        results.append(inferer(volume, network))
        assert torch.get_num_threads() == threads  # as it was
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


@pytest.mark.usefixtures("two_threads")
def test_an_error_in_a_thread_ends_the_run(small: RecordingNet) -> None:
    seen: list[SamplingProgress] = []
    volume = uniform(17, 1, 2, 8, 8, 4)
    inferer = from_noise(steps=500, rectifier=Failing(after=5), progress=seen.append)
    with pytest.raises(RuntimeError, match="a bug"):
        inferer(volume, small)
    assert len(seen) < 400  # the other thread did not go on to the end
    assert torch.get_num_threads() == 2


@dataclasses.dataclass(frozen=True)
class Failing:
    """A rectifier that fails in the thread that comes first to a step."""

    after: int
    inner: EMRectifier = EMRectifier(tv=False)  # noqa: RUF009 - it is immutable
    once: threading.Lock = dataclasses.field(default_factory=threading.Lock)

    def initial_state(self, sources: Tensor) -> Any:
        return self.inner.initial_state(sources)

    def step(self, x0: Tensor, sources: Tensor, state: Any, **where: int) -> Rectified[Any]:
        if where["index"] == self.after and self.once.acquire(blocking=False):
            raise RuntimeError("a bug")
        return self.inner.step(x0, sources, state, **where)
