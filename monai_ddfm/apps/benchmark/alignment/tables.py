"""What became of perturbed pairs: right, refused, told, or silently wrong.

Right
    At most 5 mm from the nearest that a rigid transform can come to the truth, on average over the
    head; and if the truth itself, with its stretch, is further off, that is told.
Refused, silently wrong
    The verdict is "refuse"; it is "ok" and the mean error is over 5 mm.
Called for
    A warning is called for where the truth turns the head by more than 30 degrees, stretches it by
    more than 4 percent, or leaves half of it outside the moving field of view. Any other warning
    or refusal of a right result is a false alarm.

Heads of different people have no truth; of them it is counted how many were told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from monai_ddfm.utils.files import NOTICE

__all__ = ["LIMIT_MM", "AlignmentResult", "Row", "is_failure", "verdict_of"]

Row = Mapping[str, Any]
LIMIT_MM: Final = 5.0

_COLUMNS: Final = ("cases", "right", "refused", "wrong, told", "silent", "warned", "false alarms")


def is_failure(row: Row) -> bool:
    """Return whether a result is further than 5 mm from the truth, or another person's head."""
    return row["error_mm"] is None or row["error_mm"] > LIMIT_MM


def verdict_of(row: Row) -> str:
    """Return "right", "refused", "wrong, told", "silent"; of other heads "told" or "not told"."""
    status = row["report"]["status"]
    if row["error_mm"] is None:
        return "not told" if status == "ok" else "told"
    if row["error_mm"] > LIMIT_MM and status == "ok":
        return "silent"
    if row["rigid_error_mm"] <= LIMIT_MM and status != "refuse":
        return "right"
    return "refused" if status == "refuse" else "wrong, told"


def _is_false_alarm(row: Row) -> bool:
    alarm = row["report"]["status"] != "ok"
    return alarm and not is_failure(row) and not row["warning_is_called_for"]


@dataclass(frozen=True, kw_only=True)
class AlignmentResult:
    """Everything that a benchmark of registration has found.

    Attributes:
        rows: one for each perturbed pair.
        settings: what the figures depend on.
    """

    rows: Sequence[Row]
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def summary(self) -> dict[str, Any]:
        """Return the totals over all pairs with a truth, and over other people's heads."""
        known = [row for row in self.rows if row["error_mm"] is not None]
        others = [row for row in self.rows if row["error_mm"] is None]
        verdicts = [verdict_of(row) for row in known]
        plain = [r for r in known if not is_failure(r) and not r["warning_is_called_for"]]
        seconds = [row["seconds"] for row in self.rows]
        right = [row["error_mm"] for row in known if verdict_of(row) == "right"] or [0.0]
        return {
            "cases": len(known),
            "pairs": len({row["pair"] for row in self.rows}),
            "right_or_refused": sum(v in ("right", "refused") for v in verdicts),
            "silently_wrong": verdicts.count("silent"),
            "right_without_cause_for_warning": len(plain),
            "false_alarms": sum(map(_is_false_alarm, plain)),
            "other_heads": len(others),
            "other_heads_told": sum(verdict_of(row) == "told" for row in others),
            "right_mean_mm": round(sum(right) / len(right), 3),
            "right_largest_mm": max(right),
            "mean_seconds": sum(seconds) / max(len(seconds), 1),
        }

    @property
    def text(self) -> str:
        """Return the tables."""
        known = [row for row in self.rows if row["error_mm"] is not None]
        others = [row for row in self.rows if row["error_mm"] is None]
        found = self.summary
        lines = [
            *_table("perturbation", known, lambda row: row["kind"]),
            "",
            *_table("pair", known, lambda row: row["pair"]),
        ]
        if others:
            pairs = dict.fromkeys(row["modality"] for row in others)
            lines += ["", f"{'another head':16}{'cases':>8}{'told':>8}"]
            for name in pairs:
                those = [verdict_of(row) for row in others if row["modality"] == name]
                lines.append(f"{name:16}{len(those):8}{those.count('told'):8}")
        share = found["right_or_refused"] / max(found["cases"], 1)
        alarms = found["false_alarms"] / max(found["right_without_cause_for_warning"], 1)
        lines += [
            "",
            f"right or refused {found['right_or_refused']} of {found['cases']} ({share:.1%}), "
            f"silently wrong {found['silently_wrong']}, false alarms {found['false_alarms']} of "
            f"{found['right_without_cause_for_warning']} ({alarms:.1%}), "
            f"{found['mean_seconds']:.1f} s of processor time each",
            f"right ones are {found['right_mean_mm']:.1f} mm off on average, "
            f"{found['right_largest_mm']:.1f} mm at most",
            NOTICE,
        ]
        return "\n".join(lines) + "\n"

    @property
    def json(self) -> dict[str, Any]:
        """Return everything as one JSON document."""
        return {
            "notice": NOTICE,
            "settings": dict(self.settings),
            "summary": self.summary,
            "rows": [{**row, "verdict": verdict_of(row)} for row in self.rows],
        }


def _table(title: str, rows: Sequence[Row], group: Callable[[Row], str]) -> list[str]:
    lines = [f"{title:16}" + "".join(f"{name:>14}" for name in _COLUMNS)]
    for name in [*dict.fromkeys(map(group, rows)), "all"]:
        those = [row for row in rows if name in (group(row), "all")]
        verdicts = [verdict_of(row) for row in those]
        right = [row for row in those if verdict_of(row) == "right"]
        cells = [
            len(those),
            *(verdicts.count(word) for word in ("right", "refused", "wrong, told", "silent")),
            sum(row["report"]["status"] == "warn" for row in right),
            sum(map(_is_false_alarm, those)),
        ]
        lines.append(f"{name:16}" + "".join(f"{cell:14}" for cell in cells))
    return lines
