from __future__ import annotations

import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ignite.engine import Events
from training_makers import dummy_engine, rows_of

from monai_ddfm.errors import InputError
from monai_ddfm.training.files import save_atomically
from monai_ddfm.training.logs import TrainingLog
from monai_ddfm.utils.files import replace_file


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


def test_a_resumed_log_forgets_what_is_done_again(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    first = TrainingLog(path)
    for step in (10, 20, 30):
        first.write(step, {"loss": 1 / step})
    second = TrainingLog(path)
    start_log(second, 20)
    second.write(30, {"loss": 0.5, "minutes": 2.0})
    rows = rows_of(path)
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
