from __future__ import annotations

import csv
import math
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from monai.bundle import ConfigWorkflow
from training_makers import NETWORK, save_heads, tiny_network, training

from monai_ddfm.checkpoints import network_from_file
from monai_ddfm.errors import InputError, find_input_error
from monai_ddfm.training.files import replace_file, save_atomically
from monai_ddfm.training.handlers import TrainingBudget, averaged_copy
from monai_ddfm.training.logs import TrainingLog


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_heads(tmp_path_factory.mktemp("heads"))


def budget(**options: Any) -> TrainingBudget:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    return TrainingBudget(optimizer, **options)


def dummy_engine() -> Engine:
    engine = Engine(lambda *_: None)
    engine.state.device = torch.device("cpu")
    return engine


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


def test_minutes_end_a_run_however_many_steps_are_left() -> None:
    handler = budget(max_iterations=10**9, max_minutes=0.05 / 60)
    rates = learning_rates(handler, epochs=10**6)
    assert handler.progress == 1
    assert 0.05 <= handler.seconds < 5
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


def state_of(output: Path) -> dict[str, Any]:
    return torch.load(output / "last.pt", weights_only=True)


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


def test_files_are_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.pt"
    save_atomically({"a": torch.ones(3)}, path)

    def fail(part: Path) -> None:
        part.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(InputError, match=r"No space left on device.*free disk space"):
        replace_file(path, fail)
    assert torch.equal(torch.load(path, weights_only=True)["a"], torch.ones(3))
    assert [path.name for path in path.parent.iterdir()] == ["a.pt"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        save_atomically({}, tmp_path / "file" / "a.pt")


def limit_file_size() -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))


def test_too_little_room_keeps_the_older_file(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    path.write_text("older")
    program = (
        "import sys, torch\n"
        "from pathlib import Path\n"
        "from monai_ddfm.training.files import save_atomically\n"
        "try:\n"
        "    save_atomically({'a': torch.zeros(100_000)}, Path(sys.argv[1]))\n"
        "except ValueError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)],
        preexec_fn=limit_file_size,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith(f"{path} cannot be written")
    assert len(done.stdout.splitlines()) == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["last.pt"]
    assert path.read_text() == "older"


def start_log(log: TrainingLog, iteration: int) -> None:
    engine = dummy_engine()
    engine.add_event_handler(Events.STARTED, lambda e: setattr(e.state, "iteration", iteration))
    log.attach(engine)
    engine.add_event_handler(Events.EPOCH_STARTED, lambda e: e.terminate())
    engine.run([0], max_epochs=10**6)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_resumed_log_forgets_what_is_done_again(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    first = TrainingLog(path)
    for step in (10, 20, 30):
        first.write(step, {"loss": 1 / step})
    second = TrainingLog(path)
    start_log(second, 20)
    second.write(30, {"loss": 0.5, "minutes": 2.0})
    rows = table(path)
    assert [row["iteration"] for row in rows] == ["10", "20", "30"]
    assert [row["loss"] for row in rows] == ["0.1", "0.05", "0.5"]
    assert [row["minutes"] for row in rows] == ["", "", "2.0"]


def test_a_file_that_is_no_log_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("something,else\n1,2\n")
    with pytest.raises(InputError, match=f"{path}: not a log"):
        start_log(TrainingLog(path), 0)
    assert path.read_text() == "something,else\n1,2\n"


def test_tensorboard_has_numbers_and_pictures(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    log = TrainingLog(tmp_path / "log.csv", tensorboard_dir=tmp_path / "events")
    engine = dummy_engine()
    log.attach(engine)
    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda: log.write(7, {"loss": 0.25}))
    picture = np.full((4, 4), 9, np.uint8)
    engine.add_event_handler(
        Events.EPOCH_COMPLETED, lambda: log.write_picture(7, "samples", picture)
    )
    engine.run([0], max_epochs=1)
    events = accumulator.EventAccumulator(str(tmp_path / "events")).Reload()
    (point,) = events.Scalars("loss")
    assert (point.step, point.value) == (7, 0.25)
    assert events.Images("samples")[0].width == 4


def test_average_has_the_network_s_shape() -> None:
    network = tiny_network()
    averaged = averaged_copy(network)
    averaged.update_parameters(network)
    for ours, theirs in zip(averaged.module.parameters(), network.parameters(), strict=True):
        assert torch.equal(ours, theirs)
