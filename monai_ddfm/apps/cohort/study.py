"""The two levels of the command: fuse all participants, and put the group together."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from monai_ddfm.apps.cohort.cases import Case, Finding, Selection
from monai_ddfm.apps.cohort.clusters import Site, choose_site, open_client
from monai_ddfm.apps.cohort.confidential import keep_labels, kept_labels
from monai_ddfm.apps.cohort.engine import run_jobs
from monai_ddfm.apps.cohort.finding import find_cases
from monai_ddfm.apps.cohort.fingerprints import Settings, options_digest
from monai_ddfm.apps.cohort.folders import check_inputs, check_places, cleared_cases
from monai_ddfm.apps.cohort.group import write_group, write_problems
from monai_ddfm.apps.cohort.locking import only_run
from monai_ddfm.apps.cohort.placing import describe_output
from monai_ddfm.apps.cohort.planning import Plan, lines_of, make_plan
from monai_ddfm.apps.cohort.progress import Display
from monai_ddfm.apps.cohort.records import Record, read_records, write_record
from monai_ddfm.apps.cohort.worker import Job
from monai_ddfm.errors import InputError
from monai_ddfm.utils.files import prepare_output_dir
from monai_ddfm.utils.warnings_log import log_warnings
from monai_ddfm.workflow import bundle_root, check_inference

__all__ = ["CohortRequest", "Outcome", "Prepared", "fuse_participants", "gather_group", "prepare"]

TIME_LIMIT_S = 6 * 3600.0
"""Seconds that a case may take, if nothing else is said."""
_PATIENCE_S = 600.0


@dataclass(frozen=True)
class CohortRequest:
    """What the user wants of a run.

    Attributes:
        source: the input.
        out: the output folder.
        work: the work folder; None for one beside the output folder.
        selection: what of the input.
        options: of the bundle's configuration.
        prior: another prior than the bundle's.
        device: where to compute.
        workers: fusions at a time; None for as many as make sense.
        profile: file of a batch system's profile.
        address: of a running scheduler.
        retries: how often a case is tried again whose worker was lost.
        time_limit: seconds that a case may take; 0 for any time.
    """

    source: Path
    out: Path
    work: Path | None = None
    selection: Selection = field(default_factory=Selection)
    options: dict[str, Any] = field(default_factory=dict)
    prior: Path | None = None
    device: str | None = None
    workers: int | None = None
    profile: Path | None = None
    address: str = ""
    retries: int = 3
    time_limit: float = TIME_LIMIT_S

    @property
    def work_folder(self) -> Path:
        """The work folder."""
        out = self.out.expanduser().absolute()
        work = self.work or out.with_name(f"{out.name}_work")
        return work.expanduser().absolute()


@dataclass(frozen=True)
class Outcome:
    """How a run has ended.

    Attributes:
        done: finished cases, those of earlier runs included.
        failed: cases and subjects that could not be fused.
        computed: cases fused by this run.
    """

    done: int
    failed: int
    computed: int


@dataclass(frozen=True)
class Prepared:
    """What is known before anything is computed.

    Attributes:
        finding: what the input holds.
        settings: how cases are fused.
        site: where.
        out: the output folder.
    """

    finding: Finding
    settings: Settings
    site: Site
    out: Path

    def plan(self) -> Plan:
        """Compare what was found with what the output folder holds now."""
        return make_plan(self.finding, self.settings, self.out)


def prepare(request: CohortRequest) -> Prepared:
    """Look at everything and compute nothing.

    Raises:
        InputError: nothing can be fused, or a wish cannot be met.
    """
    root = bundle_root()
    check_places(request.source, request.out, request.work_folder)
    options = {name: value for name, value in request.options.items() if value is not None}
    prior = request.prior and request.prior.expanduser().absolute()
    digest = options_digest(
        options,
        prior=prior or root / "models" / "model.pt",
        config=root / "configs" / "inference.json",
        device=request.device,
    )
    finding = find_cases(
        request.source,
        request.selection,
        labels=kept_labels(request.work_folder),
        outside=(request.out, request.work_folder),
    )
    out = request.out.expanduser().absolute()
    named = {"the prior": prior, **{k: v for k, v in options.items() if isinstance(v, Path)}}
    check_inputs(finding.cases, named, out, request.work_folder)
    for case in {case.title: case for case in finding.cases}.values():
        check_inference({**options, **_moving(case), "output_dir": out})
    site = choose_site(
        workers=request.workers,
        profile=request.profile,
        address=request.address,
        device=request.device,
        voxels=max((case.voxels for case in finding.cases), default=0),
    )
    settings = Settings(options, prior, request.device, digest)
    return Prepared(finding, settings, site, out)


def _moving(case: Case) -> dict[str, Any]:
    """Return what the configuration is told of the moving volumes, to judge the options."""
    if not case.further:
        return {"modality": str(case.modality)}
    files = [Path(case.files[source.key][0]) for source in case.sources]
    return {"moving": files, "modality": [str(kind) for kind in case.modalities]}


def fuse_participants(request: CohortRequest, display: Display) -> Outcome:
    """Fuse what is not done yet, and put the group together.

    Args:
        request: of the user.
        display: shows the run.

    Raises:
        InputError: nothing can be fused, a wish cannot be met, or another run is at work.
        EngineLostError: the scheduler was lost; what is finished stays.
    """
    prepared = prepare(request)
    out, work = prepare_output_dir(request.out), prepare_output_dir(request.work_folder)
    work.mkdir(parents=True, exist_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    with only_run(out), only_run(work):
        cases = cleared_cases(work)
        plan = prepared.plan()
        for line in lines_of(plan, workers=prepared.site.workers or 1, who_pairs=False):
            display.say(line)
        if prepared.finding.labels:
            keep_labels(work, prepared.finding.labels)
        secret = prepared.settings.deidentify or plan.kind == "DICOM"
        root = None if secret else plan.root
        describe_output(out, root if plan.kind == "BIDS" else None)
        jobs = [
            Job(
                entry.case,
                prepared.settings,
                out,
                cases,
                root,
                entry.known,
                prepared.site.threads,
                request.time_limit,
            )
            for entry in plan.todo
        ]
        write_problems(out, plan.problems, only=request.selection.participants)
        try:
            records = _run(jobs, prepared, work, display, request.retries) if jobs else []
        finally:
            write_group(out)
        cleared_cases(work)  # of what workers have left that were ended or lost
    _log_all_warnings(out, {entry.case.key for entry in plan.entries})
    computed = sum(record.status == "done" for record in records)
    failed = sum(record.status != "done" for record in records) + len(plan.problems)
    return Outcome(len(plan.entries) - len(jobs) + computed, failed, computed)


def gather_group(out: Path) -> int:
    """Put the tables and the page of a group together from what is finished.

    Returns:
        How many cases and subjects have failed.

    Raises:
        InputError: there is nothing, or it cannot be written.
    """
    out = out.expanduser().absolute()
    records = read_records(out)
    if not records:
        raise InputError(f"{out} has no results of a cohort; run the level participant first.")
    with only_run(out):
        failed = write_group(out)
    _log_all_warnings(out, set(records))
    return failed


def _log_all_warnings(out: Path, keys: Collection[str]) -> None:
    """Log what the records of these cases warn of, those of earlier runs included."""
    for key, record in read_records(out).items():
        if key in keys:
            log_warnings(f"{key}: {text}" for text in record.warnings)


def _run(
    jobs: Sequence[Job], prepared: Prepared, work: Path, display: Display, retries: int
) -> list[Record]:
    records: list[Record] = []
    beside: list[float] = []
    site = prepared.site

    def keep(record: Record, seconds: float) -> None:
        records.append(record)
        if record.status == "done":
            beside.append(seconds - record.seconds)
        if record.status != "done":
            _note_failure(prepared.out, record, display)

    with open_client(site, work) as client:
        display.begin(len(jobs), str(site), client.dashboard_link or "")
        begin = time.monotonic()
        try:
            run_jobs(
                client,
                jobs,
                watcher=display,
                keep=keep,
                retries=retries,
                most=site.workers,
                needs_gpu=site.needs_gpu,
                # Jobs may stand in a queue all night.
                patience=math.inf if site.profile else _PATIENCE_S,
            )
        finally:
            display.close()
        display.end(_summary(records, beside, time.monotonic() - begin))
    return records


def _summary(records: Sequence[Record], beside: Sequence[float], seconds: float) -> dict[str, Any]:
    """Return what a run took; the overhead of a case is its time beside the fusion itself."""
    summary = {
        "done": sum(record.status == "done" for record in records),
        "failed": sum(record.status != "done" for record in records),
        "seconds": round(seconds, 2),
        "fusion_seconds": round(sum(record.seconds for record in records), 2),
    }
    if beside:
        summary["overhead_seconds_per_case"] = round(median(beside), 3)
    return summary


def _note_failure(out: Path, record: Record, display: Display) -> None:
    try:
        write_record(out, record)
    except InputError as error:  # a full disk must not stop the others
        display.say(f"the failure of {record.key} could not be noted: {error}")
