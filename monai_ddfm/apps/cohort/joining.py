"""Several moving volumes of a subject, fused together where several modalities are asked for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from monai_ddfm.apps.cohort.cases import Case, Further, Problem, Selection, label_of

__all__ = ["joined"]


def joined(cases: Sequence[Case], selection: Selection) -> tuple[list[Case], list[Problem]]:
    """Join the cases of one session that have one MRI, if several modalities are wanted.

    Args:
        cases: with one moving volume each, of the wanted modalities.
        selection: what is wanted.

    Returns:
        The cases, with their moving volumes in the order of the selection; the same cases if one
        modality is wanted, or any. Problems of those that cannot be told apart.
    """
    wanted = selection.modalities
    if len(wanted) < 2:
        return list(cases), []
    groups: dict[tuple[str, str, tuple[str, ...]], list[Case]] = defaultdict(list)
    for case in cases:
        groups[case.subject, case.session, case.fixed].append(case)
    found, problems = [], []
    for (subject, session, _), group in groups.items():
        kinds = [case.modality for case in group]
        twice = next((kind for kind in wanted if kinds.count(kind) > 1), None)
        if twice is None:
            found.append(_as_one(group, selection))
            continue
        problems.append(
            Problem(
                label_of(subject, session),
                f"has {kinds.count(twice)} {twice} volumes; choose with --tracer",
            )
        )
    return found, problems


def _as_one(group: Sequence[Case], selection: Selection) -> Case:
    order = selection.modalities
    first, *others = sorted(group, key=lambda case: order.index(case.modality))
    there = {case.modality for case in group}
    missing = tuple(f"no {kind}" for kind in order if kind not in there)
    return replace(
        first,
        # Results of several have no tracer in their names.
        tracer="" if others else first.tracer,
        notes=(*dict.fromkeys(note for case in group for note in case.notes), *missing),
        further=tuple(Further(case.modality, case.moving) for case in others),
    )
