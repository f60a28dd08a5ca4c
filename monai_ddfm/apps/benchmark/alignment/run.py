"""`benchmark_alignment`: registration tried on heads that were moved by known transforms."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from tqdm import tqdm

from monai_ddfm.apps.benchmark.alignment.heads import KnownPair, find_known_pairs
from monai_ddfm.apps.benchmark.alignment.perturbations import BODY_KINDS, KINDS, perturb
from monai_ddfm.apps.benchmark.alignment.tables import AlignmentResult
from monai_ddfm.apps.benchmark.alignment.trying import try_one
from monai_ddfm.apps.benchmark.store import code_hash
from monai_ddfm.errors import InputError
from monai_ddfm.utils.files import prepare_output_dir
from monai_ddfm.utils.json_files import write_documents
from monai_ddfm.version import __version__

__all__ = ["benchmark_alignment"]

_MARKER: Final = "alignment.json"
_KEPT: Final = "alignment.jsonl"
_LOG = logging.getLogger("monai_ddfm.transforms")


def benchmark_alignment(
    folder: str | Path, *, count: int = 243, seed: int = 0, output_dir: str | Path | None = None
) -> AlignmentResult:
    """Register seeded perturbations of known pairs, and judge the results and the verdicts.

    Args:
        folder: pairs with their truths, see `monai_ddfm.apps.benchmark.alignment.heads`.
        count: how many perturbations; pairs and kinds take turns.
        seed: of the first round.
        output_dir: where tables and rows are kept; what is finished there is not done again, unless
            the code has changed. None keeps nothing.

    Returns:
        A row for each; ``print(result.text)`` shows the tables.

    Raises:
        InputError: if something given cannot be used.

    Examples:
        >>> from monai_ddfm.apps.benchmark import benchmark_alignment
        >>> print(benchmark_alignment("heads", count=18).text)  # doctest: +SKIP
    """
    if count < 1:
        raise InputError(f"{count} perturbations are unusable; give 1 or more.")
    pairs = find_known_pairs(folder)
    kept = None
    if output_dir is not None:
        kept = prepare_output_dir(output_dir, names=(_MARKER, _KEPT))
        kept.mkdir(parents=True, exist_ok=True)
    code = code_hash("alignment")
    rows = _rows(pairs, count=count, seed=seed, code=code, kept=kept and kept / _KEPT)
    result = AlignmentResult(
        rows=rows, settings={"version": __version__, "code": code, "count": count, "seed": seed}
    )
    if kept is not None:
        write_documents(kept / "alignment", result.json, txt=result.text)
    return result


def _rows(
    pairs: list[KnownPair], *, count: int, seed: int, code: str, kept: Path | None
) -> list[dict[str, Any]]:
    done: dict[tuple[str, str, int], dict[str, Any]] = {}
    if kept is not None and kept.exists():
        for line in kept.read_text(encoding="utf-8").splitlines():
            row = _parsed(line)
            if row.get("code") == code:
                done[row["pair"], row["kind"], row["seed"]] = row
    rows = []
    level = _LOG.level
    _LOG.setLevel(logging.ERROR)  # the verdicts are what is counted here
    try:
        for pair, kind, number in tqdm(
            list(_cases(pairs, count, seed)), desc="registering", unit="pair", disable=None
        ):
            row = done.get((pair.name, kind, number), {})
            if not row:
                others = [other for other in pairs if other.head != pair.head]
                row = {**try_one(perturb(pair, kind, seed=number, others=others)), "code": code}
                if kept is not None:
                    with kept.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(row) + "\n")
            rows.append(row)
    finally:
        _LOG.setLevel(level)
    return rows


def _cases(pairs: list[KnownPair], count: int, seed: int) -> Iterator[tuple[KnownPair, str, int]]:
    several = len({pair.head for pair in pairs}) > 1
    of_heads = [kind for kind in KINDS if several or kind != "other head"]
    for number in range(count):
        turn, pair = divmod(number, len(pairs))
        kinds = list(BODY_KINDS) if pairs[pair].region == "body" else of_heads
        cycle, kind = divmod(turn, len(kinds))
        yield pairs[pair], kinds[kind], seed + cycle


def _parsed(line: str) -> dict[str, Any]:
    """Read a kept row; the last one of a killed run may be cut off."""
    try:
        row = json.loads(line)
    except ValueError:
        return {}
    return row if isinstance(row, dict) else {}
