from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Events
from monai.bundle import ConfigWorkflow
from training_makers import NETWORK, state_of, training

from monai_ddfm.errors import InputError, find_input_error
from monai_ddfm.networks.priors import network_from_file


def assert_same(first: Any, second: Any) -> None:
    assert type(first) is type(second)
    if isinstance(first, dict):
        assert first.keys() == second.keys()
        for key in first:
            assert_same(first[key], second[key])
    elif isinstance(first, torch.Tensor):
        assert torch.equal(first, second)
    else:
        assert first == second


def stop_after(workflow: ConfigWorkflow, steps: int) -> None:
    trainer = workflow.trainer
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=steps), lambda e: e.terminate())


def test_three_steps_and_three_more_are_six_to_the_bit(data: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"max_iterations": 6, "picture_sizes": [32, 48]}
    training(data, tmp_path / "six", **options).run()
    first = training(data, tmp_path / "three", **options)
    stop_after(first, 3)
    first.run()
    assert state_of(tmp_path / "three")["budget"]["iterations"] == 3
    second = training(data, tmp_path / "three", num_workers=2, **options)
    torch.manual_seed(99)  # what went before in the process does not matter
    second.run()
    assert second.trainer.state.iteration == 6
    six, three = state_of(tmp_path / "six"), state_of(tmp_path / "three")
    for name in ("network", "averaged", "optimizer"):
        assert_same(six[name], three[name])
    assert (tmp_path / "six" / "model.pt").read_bytes() == (
        tmp_path / "three" / "model.pt"
    ).read_bytes()


def test_another_seed_trains_another_network(data: Path, tmp_path: Path) -> None:
    for seed in (0, 1):
        training(data, tmp_path / str(seed), max_iterations=1, seed=seed).run()
    first, second = (state_of(tmp_path / str(seed))["network"] for seed in (0, 1))
    assert any(not torch.equal(first[key], second[key]) for key in first)


def refusal(workflow: ConfigWorkflow) -> str:
    with pytest.raises((InputError, RuntimeError)) as caught:
        workflow.run()
    cause = find_input_error(caught.value)
    assert cause is not None, caught.value
    assert "\n" not in str(cause)
    return str(cause)


@pytest.fixture(scope="module")
def two_steps(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two_steps")
    training(data, folder, max_iterations=2).run()
    return folder


@pytest.fixture
def trained(two_steps: Path, tmp_path: Path) -> Path:
    """Folder of a run that has taken two steps."""
    return Path(shutil.copytree(two_steps, tmp_path / "run"))


def test_a_checkpoint_without_architecture_is_resumed(data: Path, trained: Path) -> None:
    state = state_of(trained)
    del state["architecture"]
    torch.save(state, trained / "last.pt")
    training(data, trained, max_iterations=3).run()
    assert state_of(trained)["budget"]["iterations"] == 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"channels": [16, 16]}, "conv_in.conv.weight has the shape"),
        ({"channels": [8, 16, 16], "attention_levels": [False] * 3}, "is missing|has the shape"),
        ({"num_head_channels": 16}, "num_head_channels"),
        ({"prediction_type": "epsilon"}, "prediction_type v_prediction where epsilon"),
    ],
)
def test_another_network_is_not_resumed_and_nothing_lost(
    data: Path, trained: Path, change: dict[str, Any], said: str
) -> None:
    before = {path: path.read_bytes() for path in trained.iterdir() if path.is_file()}
    network = {"_target_": "monai_ddfm.networks.ADMUNet", **NETWORK, **change}
    message = refusal(training(data, trained, max_iterations=9, network_def=network))
    assert str(trained / "last.pt") in message
    assert any(part in message for part in said.split("|"))
    assert "--output_dir" in message
    assert before == {path: path.read_bytes() for path in before}


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut short", "half", {"network": {}}, [1]])
def test_a_damaged_checkpoint_is_refused_and_kept(
    data: Path, trained: Path, content: object
) -> None:
    path = trained / "last.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content == "half":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    else:
        torch.save(content, path)
    before = path.read_bytes()
    message = refusal(training(data, trained, max_iterations=3))
    assert message.startswith(str(path))
    assert path.read_bytes() == before


def test_a_bad_step_stops_before_it_spoils_the_weights(data: Path, trained: Path) -> None:
    before = state_of(trained)
    exported = (trained / "model.pt").read_bytes()
    workflow = training(data, trained, max_iterations=9, learning_rate=1e30)
    message = refusal(workflow)
    assert "was not taken" in message
    assert str(trained / "last.pt") in message
    assert "--learning_rate" in message
    assert_same(before, state_of(trained))
    assert (trained / "model.pt").read_bytes() == exported
    # The advice holds.
    training(data, trained, max_iterations=4, learning_rate=1e-4).run()
    assert state_of(trained)["budget"]["iterations"] == 4
    assert network_from_file(trained / "model.pt").image_channels == 1


def test_gradients_are_clipped(data: Path, tmp_path: Path) -> None:
    workflow = training(data, tmp_path, max_iterations=1, **{"train#handlers#1#max_norm": 1e-3})
    workflow.run()
    squares = [p.grad.square().sum() for p in workflow.trainer.network.parameters()]
    assert float(torch.stack(squares).sum().sqrt()) <= 1e-3 * (1 + 1e-4)


def test_checkpoints_come_at_intervals(data: Path, tmp_path: Path) -> None:
    workflow = training(data, tmp_path, max_iterations=4, checkpoint_minutes=0)
    counts: list[int] = []
    workflow.trainer.add_event_handler(
        Events.ITERATION_COMPLETED,
        lambda: counts.append(state_of(tmp_path)["budget"]["iterations"]),
    )
    workflow.run()
    assert counts == [1, 2, 3, 4]
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {
        "last.pt",
        "log.csv",
        "model.json",
        "model.pt",
    }


def test_an_untrained_network_is_never_exported(data: Path, tmp_path: Path) -> None:
    workflow = training(data, tmp_path, learning_rate=1e30, warmup_iterations=0)
    refusal(workflow)
    assert (tmp_path / "last.pt").is_file()
    assert not (tmp_path / "model.pt").exists()
