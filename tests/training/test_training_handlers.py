from __future__ import annotations

import itertools
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Events
from training_makers import dummy_engine, tiny_network

from monai_ddfm.errors import InputError
from monai_ddfm.training import handlers
from monai_ddfm.training.handlers import TrainingBudget, averaged_copy


def budget(**options: Any) -> TrainingBudget:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    return TrainingBudget(optimizer, **options)


def learning_rates(handler: TrainingBudget, *, epochs: int = 100) -> list[float]:
    engine = dummy_engine()
    rates: list[float] = []
    handler.attach(engine)
    engine.add_event_handler(Events.ITERATION_STARTED, lambda: rates.append(handler.learning_rate))
    engine.run([0] * 10, max_epochs=epochs)
    return rates


def test_learning_rate_warms_up_and_follows_a_cosine() -> None:
    rates = learning_rates(budget(max_iterations=40, warmup_iterations=4))
    assert len(rates) == 40
    for step, rate in enumerate(rates):
        cosine = 0.25 * (1 + math.cos(math.pi * step / 40))
        assert rate == pytest.approx(min(1, (step + 1) / 4) * cosine)


def test_without_warm_up_the_first_rate_is_the_peak() -> None:
    assert learning_rates(budget(max_iterations=3, warmup_iterations=0))[0] == 0.5


def test_minutes_end_a_run_however_many_steps_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    # A clock of a millisecond a look: on a real one, a step may take as long as it likes.
    clock = SimpleNamespace(monotonic=itertools.count(step=0.001).__next__)
    monkeypatch.setattr(handlers, "time", clock)
    handler = budget(max_iterations=10**9, max_minutes=0.05 / 60)
    rates = learning_rates(handler, epochs=10**6)
    assert handler.progress == 1
    assert 0.05 <= handler.seconds < 0.06
    assert rates[-1] < 0.01


def test_a_used_budget_takes_no_step_more() -> None:
    handler = budget(max_iterations=5, warmup_iterations=0)
    handler.load_state_dict({"iterations": 5, "seconds": 1.0, "peak": [0.1]})
    assert learning_rates(handler) == []


def test_a_resumed_budget_goes_on_with_its_own_peak() -> None:
    first = budget(max_iterations=10, warmup_iterations=0)
    first.iterations, first.seconds = 4, 17.0
    second = budget(max_iterations=10, warmup_iterations=0)
    second.load_state_dict({**first.state_dict(), "peak": [123.0]})
    assert (second.iterations, second.seconds) == (4, 17.0)
    rates = learning_rates(second)
    assert len(rates) == 6
    assert rates[0] == pytest.approx(0.25 * (1 + math.cos(math.pi * 0.4)))


@pytest.mark.parametrize(
    "options", [{"max_iterations": 0}, {"max_iterations": 5, "max_minutes": 0.0}]
)
def test_no_budget_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"max_(iterations|minutes) is"):
        budget(**options)


def test_average_starts_young_and_ends_at_its_decay() -> None:
    source = torch.nn.Linear(1, 1, bias=False)
    averaged = averaged_copy(source, decay=0.8)
    rng = np.random.default_rng(0)
    expected = 0.0
    for count in range(60):
        value = float(rng.normal())
        source.weight.data.fill_(value)
        averaged.update_parameters(source)
        share = min(0.8, (1 + count) / (10 + count)) if count else 0.0
        expected = share * expected + (1 - share) * value
    assert averaged.module.weight.item() == pytest.approx(expected, abs=1e-5)


def test_average_has_the_network_s_shape() -> None:
    network = tiny_network()
    averaged = averaged_copy(network)
    averaged.update_parameters(network)
    for ours, theirs in zip(averaged.module.parameters(), network.parameters(), strict=True):
        assert torch.equal(ours, theirs)
