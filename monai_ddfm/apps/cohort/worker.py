"""What a worker does: fuse one case and put the results in their place.

A fusion runs in a folder of its own below the work folder. When it is complete, the results are
moved into the output folder, and the record of the case is written last: a worker that is killed
at any moment leaves finished cases as they are, and this one to be done again.

The log of a case has no paths and no header texts of DICOM files, because these may name the
patient: such files are given to the fusion under the names of links in the work folder.
"""

from __future__ import annotations

import gc
import logging
import shutil
import tempfile
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from monai_ddfm.apps.cohort.cases import Case
from monai_ddfm.apps.cohort.figures import figures_of
from monai_ddfm.apps.cohort.fingerprints import Settings, content_of, stamps_of
from monai_ddfm.apps.cohort.placing import place_results
from monai_ddfm.apps.cohort.records import Record, is_complete, remove_record, write_record
from monai_ddfm.apps.cohort.time_limit import ending_process
from monai_ddfm.errors import InputError
from monai_ddfm.inferers import LogProgress
from monai_ddfm.options.names import in_words_of
from monai_ddfm.utils.warnings_log import WARNINGS_LOG
from monai_ddfm.visualize.report.summary import warnings
from monai_ddfm.workflow import FusionResult, run_inference
from monai_ddfm.workflow.cached_prior import cached_prior

__all__ = ["Job", "fuse_case"]

_LOG_FORMAT = "%(asctime)s %(levelname)s %(message)s"

logger = logging.getLogger("monai_ddfm.apps.cohort")
_one_at_a_time = threading.Lock()  # the log and the number of threads belong to the whole process


@dataclass(frozen=True)
class Job:
    """A case, and how and where it is to be fused.

    Attributes:
        case: what to fuse.
        settings: how.
        out: the output folder.
        work: folder for work in progress, which exists.
        root: folder of the input, to name sources by; None if they must not be named.
        known: the record of an earlier run that may still hold.
        threads: of PyTorch; 0 leaves it alone.
        seconds: that the case may take; 0 for any time.
    """

    case: Case
    settings: Settings
    out: Path
    work: Path
    root: Path | None = None
    known: Record | None = None
    threads: int = 0
    seconds: float = 0.0


def fuse_case(job: Job) -> Record:
    """Fuse a case, unless its result is there and still valid.

    What goes wrong with this case alone is told by the record, which has not been written then.

    Args:
        job: the case.

    Returns:
        The record of the case.
    """
    with _one_at_a_time:
        if job.threads:
            torch.set_num_threads(job.threads)
        try:
            # A name of its own: a worker whose command was killed may be at the same case still.
            folder = Path(tempfile.mkdtemp(prefix=f"{job.case.key}-", dir=job.work))
        except OSError as error:
            reason = f"the work folder cannot be written ({error.strerror}); make room there"
            return Record.of(job.case, "failed", reason=reason)
        try:
            with ending_process(job.work, job.case.key, job.seconds):
                return _fuse_or_keep(job, folder)
        except InputError as error:
            reason = in_words_of("command line", _without_paths(str(error), job, folder))
        except Exception as error:
            told = _without_paths(traceback.format_exc(), job, folder)
            reason = _without_paths(f"{type(error).__name__}: {error}", job, folder)
            reason = f"the program failed ({' '.join(reason.split())}); see its log"
            _keep_trace(job, told)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            _tidy()
        return Record.of(job.case, "failed", reason=reason)


def _fuse_or_keep(job: Job, folder: Path) -> Record:
    stamps = stamps_of(job.case)
    content = content_of(job.case, job.settings)
    known = job.known
    if (
        known
        and known.status == "done"
        and known.content == content
        and is_complete(job.out, known)
    ):
        kept = replace(known, stamps=stamps)
        write_record(job.out, kept)
        return kept
    log = folder / "log.txt"
    with _logging_to(log, private=job.case.is_dicom or job.settings.deidentify):
        result = _fuse(job, folder)
    if content_of(job.case, job.settings) != content:
        raise InputError("the input files were changed while they were fused; run again.")
    # Without its record nothing of the case counts as done, while files of two runs are mixed.
    remove_record(job.out, job.case.key)
    placed = place_results(job.case, result, log=log, out=job.out, root=job.root)
    record = Record.of(
        job.case,
        "done",
        content=content,
        program=job.settings.program,
        stamps=stamps,
        outputs=placed.sizes,
        report=placed.report,
        thumbnail=placed.thumbnail,
        figures=figures_of(result.provenance),
        warnings=tuple(warnings(result.provenance)),
        seconds=round(float(result.provenance["seconds"]["total"]), 3),
    )
    write_record(job.out, record)
    return record


def _fuse(job: Job, folder: Path) -> FusionResult:
    case, settings = job.case, job.settings
    logger.info("%s: MRI (%s) with %s", case.key, case.space, case.title)
    moving = [_source(case, source.key, folder) for source in case.sources]
    kinds = [str(kind) for kind in case.modalities]
    return run_inference(
        {
            **settings.options,
            **_prior(settings.prior, settings.device),
            "fixed": _source(case, "fixed", folder),
            "moving": moving if case.further else moving[0],
            "modality": kinds if case.further else kinds[0],
            "output_dir": folder / "out",
            "inferer#progress": LogProgress(case.key, logger),
        }
    )


@lru_cache(maxsize=1)
def _prior(prior: Path | None, device: str | None) -> dict[str, Any]:
    return cached_prior(prior, device)


def _tidy() -> None:
    """Free what reference cycles of the last fusion hold; MONAI's workflows leave volumes in them.

    What the first case has imported and loaded is exempt from then on: looking through all of it
    takes a third of a second each time.
    """
    gc.collect()
    _exempt_what_is_loaded()


@lru_cache(maxsize=1)
def _exempt_what_is_loaded() -> None:
    gc.freeze()


def _source(case: Case, role: str, folder: Path) -> Path:
    """Return what to read: the file itself, or a folder of links to the files of a series."""
    files = case.files[role]
    if not case.is_dicom:
        return Path(files[0])
    links = folder / role
    links.mkdir()
    for number, name in enumerate(files, start=1):
        (links / f"{number:05d}.dcm").symlink_to(name)
    return links


@contextmanager
def _logging_to(path: Path, *, private: bool) -> Iterator[None]:
    """Write what the package logs into a file; only our own lines where paths may tell names."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter(_LOG_FORMAT))
    names = (logger.name, WARNINGS_LOG) if private else ("monai_ddfm",)
    sources = [logging.getLogger(name) for name in names]
    levels = [source.level for source in sources]
    for source in sources:
        source.addHandler(handler)
        source.setLevel(logging.INFO)
    try:
        yield
    finally:
        for source, level in zip(sources, levels, strict=True):
            source.removeHandler(handler)
            source.setLevel(level)
        handler.close()


def _without_paths(text: str, job: Job, folder: Path) -> str:
    """Name the inputs by their roles instead of paths that may tell more."""
    roles = {"fixed": "the MRI", **{one.key: f"the {one.modality}" for one in job.case.sources}}
    for role, called in roles.items():
        for name in (str(folder / role), *job.case.files[role]):
            text = text.replace(name, called)
    return text.replace(str(folder), "the work folder")


def _keep_trace(job: Job, told: str) -> None:
    logs = job.out / "logs"
    with suppress(OSError):
        logs.mkdir(exist_ok=True)
        (logs / f"{job.case.key}.log").write_text(told, encoding="utf-8")
