"""Combinations in which every two values of every two options meet at least once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from random import Random
from typing import Any

Row = dict[str, Any]


def pairwise_rows(values: Mapping[str, Sequence[Any]], *, tries: int = 12) -> Iterator[Row]:
    """Yield rows, one value for each name, until all pairs have been met.

    Greedy: a row begins with a pair that has not met yet; every other name takes the value that
    meets most new partners. Of several such rows the best is taken.

    Args:
        values: by name; numbers of values stand for them within.
        tries: rows to choose from.
    """
    names, random = list(values), Random(0)
    missing = {
        ((a, i), (b, j))
        for a, b in combinations(names, 2)
        for i in range(len(values[a]))
        for j in range(len(values[b]))
    }
    place = {name: position for position, name in enumerate(names)}

    either_way = missing | {(end, begin) for begin, end in missing}

    def row_from(pair: tuple[tuple[str, int], tuple[str, int]]) -> dict[str, int]:
        row = dict(pair)
        for name in random.sample(names, len(names)):
            if name not in row:
                gains = {
                    i: sum(((name, i), end) in either_way for end in row.items())
                    for i in range(len(values[name]))
                }
                row[name] = max(gains, key=lambda i: (gains[i], random.random()))
        return row

    while missing:
        left = sorted(missing)
        begins = [random.choice(left) for _ in range(tries)]
        rows = [row_from(pair) for pair in begins]
        best = max(rows, key=lambda row: sum(map(either_way.__contains__, _pairs(row))))
        ends = sorted(best.items(), key=lambda end: place[end[0]])
        missing -= set(combinations(ends, 2))
        either_way -= {*_pairs(best), *((end, begin) for begin, end in _pairs(best))}
        yield {name: values[name][i] for name, i in ends}


def _pairs(row: Mapping[str, int]) -> Iterator[tuple[tuple[str, int], tuple[str, int]]]:
    return combinations(row.items(), 2)
