"""What the EM step promises: batches, bounds, finite values, types, and what it refuses."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from em_images import PUBLISHED, QUICK, SIDES, images
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from monai_ddfm.errors import InputError
from monai_ddfm.likelihoods.em import EMResult, EMState, em_step, moving_share


class RecordOperators(TorchDispatchMode):
    """Names of the operators that run."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        self.names.add(str(func))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("size", [(1, 1), (31, 47), (192, 256)])
@pytest.mark.parametrize("tv", [True, False])
def test_a_batch_equals_its_members_bit_by_bit(size: tuple[int, int], tv: bool) -> None:
    batch = 3
    inputs = images(5, batch, 1, *size, dtype=torch.float32)
    together = EMState.initial(batch, *size)
    alone = [EMState.initial(1, *size) for _ in range(batch)]
    for _ in range(3):
        result = em_step(*inputs, together, **PUBLISHED, tv=tv)
        together = result.state
        for member in range(batch):
            single = [image[member : member + 1] for image in inputs]
            expected = em_step(*single, alone[member], **PUBLISHED, tv=tv)
            alone[member] = expected.state
            pairs = zip(tensors(result), tensors(expected), strict=True)
            assert all(torch.equal(ours[member : member + 1], theirs) for ours, theirs in pairs)


def tensors(result: EMResult) -> tuple[Tensor, ...]:
    state = result.state
    return (result.fused, result.weight, state.tau_a, state.tau_b, state.f1, state.f2)


VALUES = st.sampled_from([0.0, 1.0, -1.0, 0.5, 1e-6, -1e-6, 1e-30, 1e4, 1e30, -3e38])


@QUICK
@given(
    st.tuples(VALUES, VALUES, VALUES),
    st.tuples(VALUES, VALUES, VALUES),
    st.sampled_from(["reference", "paper"]),
    st.booleans(),
    st.sampled_from([0.0, 0.001, 1.0]),
)
def test_finite_for_all_finite_inputs(
    left: Sequence[float], right: Sequence[float], variant: Any, tv: bool, rho: float
) -> None:
    # Two constant halves, so that both the values and the jump between them are extreme.
    x0, moving, fixed = (
        torch.tensor([a, b]).repeat_interleave(3).expand(1, 1, 5, 6)
        for a, b in zip(left, right, strict=True)
    )
    state = EMState.initial(1, 5, 6)
    for _ in range(80):
        result = em_step(x0, moving, fixed, state, lamb=0.0, rho=rho, variant=variant, tv=tv)
        state = result.state
        assert all(tensor.isfinite().all() for tensor in tensors(result))
        assert ((result.weight >= 0) & (result.weight <= 1)).all()


def test_the_pole_of_c_is_floored() -> None:
    # float64, where moving - x0 can hit -1e-6 exactly.
    fixed, moving = torch.zeros(1, 1, 1, 2).double(), torch.full((1, 1, 1, 2), 0.5).double()
    x0 = torch.tensor([[[[0.5 + 1e-6, 0.5 + 1.1e-6]]]], dtype=torch.float64)
    result = em_step(x0, moving, fixed, EMState.initial(1, 1, 2, dtype=x0.dtype), **PUBLISHED)
    assert result.fused[0, 0, 0, 0].item() == pytest.approx(
        result.fused[0, 0, 0, 1].item(), abs=1e-5
    )


def test_not_a_number_is_not_hidden() -> None:
    x0, moving, fixed = images(0, 1, 1, 4, 4)
    x0[0, 0, 1, 2] = torch.nan
    state = EMState.initial(1, 4, 4, dtype=torch.float64)
    assert em_step(x0, moving, fixed, state, **PUBLISHED).fused[0, 0, 1, 2].isnan()


@QUICK
@given(SIDES, SIDES, st.integers(0, 2**31), st.sampled_from(["reference", "paper"]))
def test_without_tv_nothing_is_invented(height: int, width: int, seed: int, variant: Any) -> None:
    x0, moving, fixed = images(seed, 2, 1, height, width, dtype=torch.float32)
    state = EMState.initial(2, height, width)
    low, high = torch.minimum(moving, fixed), torch.maximum(moving, fixed)
    for estimate in (x0 * 3, moving, fixed):
        with RecordOperators() as operators:
            fused, after, weight = em_step(
                estimate, moving, fixed, state, **PUBLISHED, variant=variant, tv=False
            )
        assert not any("fft" in name for name in operators.names)
        assert torch.equal(after.f1, state.f1)
        assert ((fused >= low) & (fused <= high)).all()
        mixture = fixed + weight * (moving - fixed)
        torch.testing.assert_close(fused, mixture, rtol=0, atol=1e-6)


@pytest.mark.parametrize("variant", ["reference", "paper"])
def test_the_bound_without_tv_is_exact(variant: Any) -> None:
    # An estimate that stays at a source drives tau_a down and C up, until x = y and v + (i - v)
    # would round beyond i.
    _, moving, fixed = images(9, 1, 1, 64, 64, dtype=torch.float32)
    state = EMState.initial(1, 64, 64)
    low, high = torch.minimum(moving, fixed), torch.maximum(moving, fixed)
    for _ in range(40):
        fused, state, _ = em_step(
            moving, moving, fixed, state, **PUBLISHED, variant=variant, tv=False
        )
        assert ((fused >= low) & (fused <= high)).all()


def test_the_recorder_sees_a_transform() -> None:
    with RecordOperators() as operators:
        em_step(*images(0, 1, 1, 4, 4), EMState.initial(1, 4, 4), **PUBLISHED)
    assert any("fft" in name for name in operators.names)


def test_equal_sources_are_returned() -> None:
    x0, source, _ = images(1, 1, 1, 9, 8)
    state = EMState.initial(1, 9, 8, dtype=torch.float64)
    for variant in ("reference", "paper"):
        result = em_step(x0, source, source, state, **PUBLISHED, variant=variant, tv=False)
        assert torch.equal(result.fused, source)


def test_variants_mirror_each_other() -> None:
    x0, moving, fixed = images(2, 1, 1, 21, 16)
    state = EMState.initial(1, 21, 16, dtype=torch.float64)
    reference = em_step(x0, moving, fixed, state, **PUBLISHED)
    paper = em_step(x0, moving, fixed, state, **PUBLISHED, variant="paper")
    torch.testing.assert_close(moving - reference.fused, paper.fused - fixed)
    inside = (reference.weight > 0) & (reference.weight < 1)
    assert inside.float().mean() > 0.9
    torch.testing.assert_close(
        reference.weight[inside] + paper.weight[inside], torch.ones(int(inside.sum())).double()
    )


def test_weight_is_the_share_that_was_mixed() -> None:
    x0, moving, fixed = images(3, 1, 1, 16, 16)
    state = EMState.initial(1, 16, 16, dtype=torch.float64)
    fused, _, weight = em_step(x0, moving, fixed, state, **PUBLISHED)
    inside = (fused - fixed) * (fused - moving) < 0
    assert inside.float().mean() > 0.9
    torch.testing.assert_close(fused[inside], (fixed + weight * (moving - fixed))[inside])


def test_moving_share_projects() -> None:
    moving, fixed = torch.tensor([1.0, 1.0, 1.0, 0.5]), torch.tensor([-1.0, -1.0, -1.0, 0.5])
    share = moving_share(torch.tensor([0.0, 2.0, -3.0, 9.0]), moving, fixed, where_equal=0.25)
    assert share.tolist() == [0.5, 1.0, 0.0, 0.25]


def test_half_precision_and_autocast_compute_in_float32() -> None:
    inputs = [image.bfloat16() for image in images(4, 2, 1, 24, 20)]
    state = EMState.initial(2, 24, 20, dtype=torch.bfloat16)
    expected = em_step(*(image.float() for image in inputs), state, **PUBLISHED)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = em_step(*inputs, state, **PUBLISHED)
    for ours, theirs in zip(tensors(result), tensors(expected), strict=True):
        assert ours.dtype == torch.float32
        assert torch.equal(ours, theirs)


def test_float64_computes_in_float64() -> None:
    inputs = images(6, 1, 1, 24, 20)
    state = EMState.initial(1, 24, 20, dtype=torch.float64)
    result = em_step(*inputs, state, **PUBLISHED)
    assert {tensor.dtype for tensor in tensors(result)} == {torch.float64}
    # And is a rounding of float32 away from it, not more.
    narrow = em_step(*(x.float() for x in inputs), EMState.initial(1, 24, 20), **PUBLISHED)
    torch.testing.assert_close(result.fused.float(), narrow.fused, rtol=0, atol=2e-6)


def test_state_is_immutable_and_inputs_are_untouched() -> None:
    inputs = images(7, 1, 1, 8, 8)
    copies = [image.clone() for image in inputs]
    state = EMState.initial(1, 8, 8, dtype=torch.float64)
    em_step(*inputs, state, **PUBLISHED)
    assert all(torch.equal(image, copy) for image, copy in zip(inputs, copies, strict=True))
    assert state.tau_a.item() == 1
    assert not state.f1.any()
    with pytest.raises(dataclasses.FrozenInstanceError):
        state.tau_a = state.tau_b  # type: ignore[misc]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"lamb": -1.0}, "lamb"),
        ({"rho": float("nan")}, "rho"),
        ({"rho": float("inf")}, "rho"),
        ({"variant": "other"}, "other"),
    ],
)
def test_parameters_out_of_range_are_refused(change: dict[str, Any], word: str) -> None:
    state = EMState.initial(1, 4, 4)
    with pytest.raises(InputError, match=word):
        em_step(*images(0, 1, 1, 4, 4), state, **{**PUBLISHED, **change})


def test_shapes_that_would_broadcast_are_refused() -> None:
    x0, moving, fixed = images(0, 2, 1, 4, 4)
    with pytest.raises(ValueError, match="one shape"):
        em_step(x0, moving[:1], fixed, EMState.initial(2, 4, 4), **PUBLISHED)
    with pytest.raises(ValueError, match="one shape"):
        em_step(x0, moving, fixed, EMState.initial(1, 4, 4), **PUBLISHED)


@pytest.mark.gpu
def test_cuda_equals_the_cpu_without_waiting() -> None:
    inputs = images(8, 2, 1, 33, 64, dtype=torch.float32)
    expected = em_step(*inputs, EMState.initial(2, 33, 64), **PUBLISHED)
    on_device = [image.cuda() for image in inputs]
    state = EMState.initial(2, 33, 64, device="cuda")
    em_step(*on_device, state, **PUBLISHED)
    torch.cuda.set_sync_debug_mode("error")
    try:
        result = em_step(*on_device, state, **PUBLISHED)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.testing.assert_close(result.fused.cpu(), expected.fused, rtol=0, atol=1e-5)
