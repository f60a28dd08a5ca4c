r"""Fitting and checking the probability of failure (`monai_ddfm.transforms.registration_risk`).

The weights maximize the log-likelihood of "failed" over the rows of `benchmark_alignment`, less
:math:`\lambda \sum_k w_k^2 / 2` over standardized features, and keep their signs: a
figure that gets worse never makes failure less likely. Each head is judged by weights that were
fitted without any of its pairs; the tables say how often those that were given a probability have
failed, and what the verdicts would have been.

``python -m monai_ddfm.apps.benchmark.alignment.calibration fitted/alignment.json`` prints the
numbers of the module and that table.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from monai_ddfm.apps.benchmark.alignment.tables import AlignmentResult, Row, is_failure
from monai_ddfm.transforms.registration_risk import FEATURES, SIGNS, features
from monai_ddfm.transforms.registration_verdict import judge

__all__ = ["Fit", "fit", "held_out", "rejudged", "reliability"]

Array = npt.NDArray[np.float64]
_RIDGE: Final = 1.0
_BOUNDS: Final = (0.0, 0.02, 0.1, 0.3, 0.7, 1.0)


@dataclass(frozen=True)
class Fit:
    """A logistic regression on standardized features.

    Attributes:
        bias: the log odds at the mean.
        means: of the features.
        deviations: of the features.
        weights: of the standardized features.
    """

    bias: float
    means: Array
    deviations: Array
    weights: Array

    def __call__(self, x: Array) -> Array:
        """Return the probability of failure of features [N, K], [N]."""
        z = self.bias + (x - self.means) / self.deviations @ self.weights
        return np.asarray(1 / (1 + np.exp(-np.clip(z, -30, 30))))


def fit(rows: Sequence[Row]) -> Fit:
    """Fit to rows of `benchmark_alignment`."""
    x, y = _data(rows)
    means, deviations = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-6)
    design = np.hstack([np.ones((len(x), 1)), (x - means) / deviations])

    def loss(beta: Array) -> tuple[float, Array]:
        z = design @ beta
        slope = np.append(0.0, _RIDGE * beta[1:])
        value = np.logaddexp(0, z).sum() - y @ z + 0.5 * slope @ beta
        return float(value), design.T @ (1 / (1 + np.exp(-z)) - y) + slope

    bounds = [(None, None)] + [(None, 0.0) if s < 0 else (0.0, None) for s in SIGNS]
    beta = minimize(loss, np.zeros(len(bounds)), jac=True, bounds=bounds, method="L-BFGS-B").x
    return Fit(float(beta[0]), means, deviations, beta[1:])


def held_out(rows: Sequence[Row]) -> Array:
    """Return for each row the probability by weights that were fitted without its head, [N]."""
    x, _ = _data(rows)
    found = np.full(len(rows), np.nan)
    heads = np.array([row["head"] for row in rows])
    for head in np.unique(heads):
        rest = [row for row in rows if row["head"] != head]
        found[heads == head] = fit(rest)(x[heads == head])
    return found


def rejudged(rows: Sequence[Row], probabilities: Array) -> list[dict[str, Any]]:
    """Return the rows with the verdicts that they get with other probabilities of failure [N]."""
    found = []
    for row, probability in zip(rows, probabilities.tolist(), strict=True):
        report = {**row["report"], "failure_probability": probability}
        refusals, warnings = judge(report, same_frame=False)
        report["status"] = "refuse" if refusals else "warn" if warnings else "ok"
        report["reasons"] = [*refusals, *warnings]
        found.append({**row, "report": report})
    return found


def reliability(
    probabilities: Array, failed: Sequence[bool]
) -> list[tuple[float, float, int, float, float]]:
    """Return for each band of probability: its bounds, cases, mean probability, share that failed.

    Args:
        probabilities: [N].
        failed: whether each has failed.
    """
    table = []
    truth = np.array(failed, dtype=float)
    for low, high in pairwise(_BOUNDS):
        inside = (probabilities >= low) & ((probabilities < high) | (high == 1))
        if inside.any():
            mean = float(probabilities[inside].mean())
            table.append((low, high, int(inside.sum()), mean, float(truth[inside].mean())))
    return table


def _data(rows: Sequence[Row]) -> tuple[Array, Array]:
    x = np.array([features(row["report"]) for row in rows], dtype=np.float64)
    return x, np.array([is_failure(row) for row in rows], dtype=np.float64)


def main(paths: Sequence[str]) -> None:
    """Print the fit to the rows of one or more ``alignment.json``, and how it is calibrated."""
    rows: list[dict[str, Any]] = []
    for path in paths:
        rows += json.loads(Path(path).read_text(encoding="utf-8"))["rows"]
    rows = [row for row in rows if "dependence" in row["report"]]  # the others were not searched
    rows = [row for row in rows if row["report"].get("region") != "body"]  # it is a figure of heads
    whole, unseen = fit(rows), held_out(rows)
    print(f"_BIAS = {whole.bias:.4f}")
    for name, values in (
        ("_MEANS", whole.means),
        ("_DEVIATIONS", whole.deviations),
        ("_WEIGHTS", whole.weights),
    ):
        print(f"{name} = ({', '.join(f'{value:.4f}' for value in values)})")
    print("#", ", ".join(FEATURES))
    print(f"\n{'probability':14}{'cases':>8}{'mean':>10}{'failed':>10}   (heads not fitted on)")
    for low, high, count, mean, share in reliability(unseen, [is_failure(row) for row in rows]):
        print(f"{f'{low:g} to {high:g}':14}{count:8}{mean:10.1%}{share:10.1%}")
    print("\nverdicts by weights that were fitted without the head that is judged\n")
    print(AlignmentResult(rows=rejudged(rows, unseen)).text, end="")


if __name__ == "__main__":
    main(sys.argv[1:])
