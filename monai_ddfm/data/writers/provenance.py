"""How a result came to be: inputs, software, options, times, memory, and what was found on the way.

A `RunRecord` is made when the run begins. It knows the options, takes the time of every stage and
ends as one JSON document, ``provenance.json``, written when everything else has been.
"""

from __future__ import annotations

import logging
import os
import platform
import shlex
import sys
import time
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from monai.transforms import Transform

from monai_ddfm.utils.files import NOTICE
from monai_ddfm.utils.hashes import describe_file, describe_input
from monai_ddfm.utils.json_files import jsonable
from monai_ddfm.utils.remarks import warnings
from monai_ddfm.utils.reports import collect_reports
from monai_ddfm.utils.warnings_log import STAGES_LOG

__all__ = [
    "MarkStage",
    "RunRecord",
    "collect_provenance",
    "peak_memory",
]

SCHEMA = "monai_ddfm.provenance/1"
_PACKAGES = (
    "monai-ddfm",
    "monai",
    "torch",
    "numpy",
    "scipy",
    "nibabel",
    "SimpleITK",
    "itk",
    "pydicom",
    "pytorch-ignite",
)


class RunRecord:
    """Options, inputs and stage times of one run.

    The time between two marks belongs to the stage that the later mark names, so a stage is timed
    by a mark at its end. Marks are taken in the process that made the record: preprocessing has to
    run there too (``num_workers: 0``) to be timed.

    Args:
        inputs: role and path of what was read, for example ``{"fixed": ..., "moving": ...}``.
        prior: checkpoint of the diffusion model.
        options: what the user chose: preset, steps, seed, modality and whatever else there is; may
            still grow.
        device: the device of the network.
    """

    def __init__(
        self,
        *,
        inputs: Mapping[str, str | Path] | None = None,
        prior: str | Path | None = None,
        options: Mapping[str, Any] | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        self.inputs = dict(inputs or {})
        self.prior = prior
        self.options: Mapping[str, Any] = {} if options is None else options
        self.device = torch.device(device)
        self.restart()

    def restart(self) -> None:
        """Begin the next case: times start at zero."""
        self.started = datetime.now(UTC)
        self.stages: dict[str, float] = {}
        self._begin = self._last = time.perf_counter()

    def mark(self, stage: str) -> None:
        """Add the time since the last mark, or since the beginning, to `stage`.

        Args:
            stage: the stage that ends here; a stage may end several times.
        """
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            torch.cuda.synchronize()
        now = time.perf_counter()
        self.stages[stage] = self.stages.get(stage, 0.0) + now - self._last
        self._last = now

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a block: what ran before it since the last mark goes to the stage ``other``.

        Args:
            name: the stage that the block is.
        """
        self.mark("other")
        yield
        self.mark(name)

    def seconds(self) -> dict[str, float]:
        """Return seconds per stage, and their ``total`` since the beginning."""
        stages = {name: round(value, 3) for name, value in self.stages.items()}
        return {**stages, "total": round(time.perf_counter() - self._begin, 3)}


class MarkStage(Transform):  # type: ignore[misc]
    """Transform that returns its input and takes a mark on the way.

    Args:
        record: the run's record.
        stage: name of the stage that ends here.
    """

    def __init__(self, record: RunRecord, stage: str) -> None:
        self.record = record
        self.stage = stage

    def __call__(self, data: Any) -> Any:
        """Take the mark, log it, and return `data`."""
        self.record.mark(self.stage)
        logging.getLogger(STAGES_LOG).info("%s", self.stage)
        return data


def collect_provenance(
    record: RunRecord,
    data: Mapping[Hashable, Any],
    *,
    outputs: Mapping[str, str | Path] | None = None,
    details: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Put together everything that is known about a run.

    Args:
        record: options and times.
        data: the case at the end of the run; the reports of its volumes are gathered.
        outputs: final name and present path of each result.
        details: further entries, for example the bound check.

    Returns:
        A mapping that `json.dumps` can write.

    Raises:
        InputError: an input has vanished since it was read.
    """
    options = dict(record.options)
    reports = collect_reports(data)
    found = {**jsonable(details or {}), "reports": reports}
    return {
        "notice": NOTICE,
        "schema": SCHEMA,
        "started_utc": record.started.isoformat(timespec="milliseconds"),
        "finished_utc": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "command": shlex.join(sys.argv),
        "options": jsonable({"preset": None, "steps": None, "seed": None, **options}),
        "inputs": {role: describe_input(path) for role, path in record.inputs.items()},
        "prior": describe_input(record.prior) if record.prior else None,
        **found,
        "warnings": warnings(found),
        "outputs": {name: describe_file(path) for name, path in (outputs or {}).items()},
        "seconds": record.seconds(),
        "memory": peak_memory(record.device),
        "software": _software(),
        "hardware": _hardware(record.device),
    }


def peak_memory(device: torch.device | str = "cpu") -> dict[str, int | None]:
    """Return the largest memory use of this process so far.

    Args:
        device: the device of the network.

    Returns:
        ``peak_rss_bytes`` (None where the system does not tell) and ``peak_device_bytes`` (None
        unless `device` is a CUDA device in use).
    """
    device = torch.device(device)
    on_device = None
    if device.type == "cuda" and torch.cuda.is_available():
        on_device = torch.cuda.max_memory_allocated(device)
    return {"peak_rss_bytes": _peak_rss(), "peak_device_bytes": on_device}


def _peak_rss() -> int | None:
    # Linux hands the peak of getrusage() down from the parent process, VmHWM it does not.
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    try:
        import resource  # noqa: PLC0415  (there is none on Windows)
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _software() -> dict[str, str | None]:
    versions: dict[str, str | None] = {}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    cuda = torch.version.cuda
    return {
        **versions,
        "python": platform.python_version(),
        "os": platform.platform(),
        "cuda": cuda,
    }


def _processor() -> str:
    about = Path("/proc/cpuinfo")
    lines = about.read_text().splitlines() if about.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _hardware(device: torch.device) -> dict[str, Any]:
    name = _processor()
    if device.type == "cuda" and torch.cuda.is_available():
        name = torch.cuda.get_device_name(device)
    return {
        "device": str(device),
        "device_name": name,
        "cpu_count": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
    }
