"""What a run will do: who is fused with whom, what is wrong, what is done already, how long.

Everything is looked at before anything is computed. Inputs are not read but for their headers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from monai_ddfm.apps.cohort.cases import Case, Finding, Problem
from monai_ddfm.apps.cohort.fingerprints import Settings, stamps_of
from monai_ddfm.apps.cohort.records import Record, case_state, read_records
from monai_ddfm.errors import InputError
from monai_ddfm.inferers import PRESETS
from monai_ddfm.likelihoods.rectifiers import likelihood_of
from monai_ddfm.utils.words import duration_words

__all__ = ["Plan", "Planned", "lines_of", "make_plan"]

# Measured by `monai-ddfm demo` on an AMD EPYC, two cores, 2026-11-24: 58 s for 16 steps on
# 180 x 216 x 66 voxels, 53 s of it sampling.
_SECONDS_PER_VOXEL_AND_STEP = 1.3e-6
_SECONDS_BESIDE = 5.0


@dataclass(frozen=True)
class Planned:
    """A case and what is to be done with it.

    Attributes:
        case: the case.
        state: as `monai_ddfm.apps.cohort.records.case_state` says.
        known: the record of an earlier run, if there is one.
    """

    case: Case
    state: str
    known: Record | None = None


@dataclass(frozen=True)
class Plan:
    """What a run will do.

    Attributes:
        kind: of the input.
        root: folder of the input.
        entries: all cases.
        problems: what cannot be fused, and why.
        notes: remarks on the whole.
        seconds: estimate of the work to be done, by one worker; None if not known.
        basis: what the estimate rests on.
    """

    kind: str
    root: Path
    entries: Sequence[Planned]
    problems: Sequence[Problem]
    notes: Sequence[str]
    seconds: float | None
    basis: str

    @property
    def todo(self) -> list[Planned]:
        """The cases that are not done; those whose inputs were touched among them."""
        return [entry for entry in self.entries if entry.state != "done"]


def make_plan(finding: Finding, settings: Settings, out: Path) -> Plan:
    """Compare what was found with what an earlier run has left.

    Args:
        finding: the cases.
        settings: how they are to be fused.
        out: the output folder; it need not exist.
    """
    records = read_records(out)
    entries, problems = [], list(finding.problems)
    for case in finding.cases:
        try:
            stamps = stamps_of(case)
        except InputError as error:
            problems.append(Problem(case.key, str(error).rstrip(".")))
            continue
        known = records.get(case.key)
        state = case_state(out, known, stamps=stamps, program=settings.program)
        entries.append(Planned(case, state, known))
    todo = [entry.case for entry in entries if entry.state != "done"]
    seconds, basis = _estimate(todo, entries, settings)
    return Plan(finding.kind, finding.root, entries, problems, finding.notes, seconds, basis)


def _estimate(
    todo: Sequence[Case], entries: Sequence[Planned], settings: Settings
) -> tuple[float | None, str]:
    rates = [
        entry.known.seconds / entry.case.voxels
        for entry in entries
        if entry.state == "done" and entry.known and entry.known.seconds and entry.case.voxels
    ]
    known = [case.voxels for case in todo if case.voxels]
    if todo and not known:
        return None, "the sizes are not known"
    scale = len(todo) / len(known) if known else 0.0
    if rates:
        return scale * median(rates) * sum(known), f"{len(rates)} cases of this cohort"
    if (settings.device or "cpu") != "cpu":
        return None, "no case has been fused on this device yet"
    preset = PRESETS.get(str(settings.options.get("preset") or "default"))
    steps = settings.options.get("steps") or (preset.steps if preset else 16)
    # Where the noise of each source counts, the prior sees both.
    images = 2 if preset and likelihood_of(preset.rectifier).measures_noise else 1
    per_voxel = _SECONDS_PER_VOXEL_AND_STEP * images * float(steps)
    return (
        scale * sum(_SECONDS_BESIDE + per_voxel * voxels for voxels in known),
        "a CPU with two cores",
    )


def lines_of(plan: Plan, *, workers: int, who_pairs: bool = True) -> Iterator[str]:
    """Yield the plan as text.

    Args:
        plan: the plan.
        workers: how many will share the work.
        who_pairs: whether every pair gets a line.
    """
    yield f"{plan.kind} input {plan.root}: {len(plan.entries)} pairs"
    if who_pairs:
        for entry in plan.entries:
            yield f"  {_line(entry, plan.root)}"
    for note in plan.notes:
        yield f"note     {note}"
    for problem in plan.problems:
        yield f"problem  {problem.who}: {problem.sentence}"
    counts = Counter(entry.state for entry in plan.entries)
    states = ", ".join(f"{count} {state}" for state, count in counts.most_common())
    yield f"{states or 'nothing to fuse'}; {len(plan.problems)} with a problem"
    if plan.seconds is None:
        yield f"time     not known: {plan.basis}"
    else:
        share = plan.seconds / max(1, min(workers, len(plan.todo)))
        text = duration_words(share)
        yield f"time     about {text} with {workers} workers (after {plan.basis})"


def _line(entry: Planned, root: Path) -> str:
    case = entry.case
    parts = [
        f"{name} ({len(files)} files)" if len(files) > 1 else name
        for files in case.files.values()
        for name in [_shown(case, files, root)]
    ]
    remarks = f" ({'; '.join(case.notes)})" if case.notes else ""
    return f"{case.key:32} {' + '.join(parts)}{remarks}: {entry.state}"


def _shown(case: Case, files: Sequence[str], root: Path) -> str:
    if case.is_dicom:  # folders may be named after patients
        return "a series"
    path = Path(files[0])
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
