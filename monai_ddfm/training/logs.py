"""The record of a training run: a CSV table and TensorBoard, both cut back when a run resumes."""

from __future__ import annotations

import csv
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine, Events
from numpy.typing import NDArray

from monai_ddfm.errors import InputError
from monai_ddfm.utils.files import replace_file
from monai_ddfm.version import install_command

__all__ = ["TrainingLog"]

_log = logging.getLogger(__name__)
_STEP = "iteration"


class TrainingLog:
    """Writes rows of numbers as CSV and to TensorBoard, and pictures to TensorBoard.

    A killed run may have logged steps after its last checkpoint. When it is resumed these are
    taken out, since they are made again. Attach it after the checkpoint.

    Args:
        csv_path: table with one row per call of `write`.
        tensorboard_dir: folder of event files; None writes none. Without the package tensorboard
            none are written either, which is said once.
    """

    def __init__(self, csv_path: str | Path, *, tensorboard_dir: str | Path | None = None) -> None:
        self.csv_path = Path(csv_path)
        self.tensorboard_dir = None if tensorboard_dir is None else Path(tensorboard_dir)
        self.rows: list[dict[str, Any]] = []
        self._writer: Any = None

    def attach(self, engine: Engine) -> None:
        """Register with the trainer."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.COMPLETED, self._close)

    def write(self, iteration: int, values: Mapping[str, float]) -> None:
        """Add one row.

        Args:
            iteration: step of the run.
            values: numbers by name.

        Raises:
            InputError: if the table cannot be written.
        """
        row = {_STEP: iteration, **values}
        _log.info("%s", row)
        self.rows.append(row)
        replace_file(self.csv_path, self._write_table)
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(name, value, iteration)
            self._writer.flush()

    def write_picture(self, iteration: int, name: str, picture: NDArray[np.uint8]) -> None:
        """Show a grey picture [h, w] in TensorBoard."""
        if self._writer is not None:
            self._writer.add_image(name, picture, iteration, dataformats="HW")
            self._writer.flush()

    def _start(self, engine: Engine) -> None:
        resumed_at = engine.state.iteration
        self.rows = [row for row in self._read_table() if int(row[_STEP]) <= resumed_at]
        if self.tensorboard_dir is not None:
            self._writer = _summary_writer(self.tensorboard_dir, first_step=resumed_at + 1)

    def _close(self, engine: Engine) -> None:  # noqa: ARG002
        if self._writer is not None:
            self._writer.close()

    def _read_table(self) -> list[dict[str, Any]]:
        if not self.csv_path.is_file():
            return []
        try:
            with self.csv_path.open(newline="", encoding="utf-8") as file:
                rows: list[dict[str, Any]] = list(csv.DictReader(file))
            for row in rows:
                int(row[_STEP])
        except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
            raise InputError(
                f"{self.csv_path}: not a log of a training run; remove it or name another folder"
            ) from error
        return rows

    def _write_table(self, path: Path) -> None:
        columns = list(dict.fromkeys(name for row in self.rows for name in row))
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=columns)
            writer.writeheader()
            writer.writerows(self.rows)


def _summary_writer(folder: Path, *, first_step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - optional
    except ImportError:
        _log.warning("no TensorBoard logs: install them with `%s`", install_command("train"))
        return None
    return SummaryWriter(str(folder), purge_step=first_step)
