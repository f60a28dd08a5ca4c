"""What the benchmark found: a table, a JSON file and a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from monai_ddfm.apps.speed.costs import NetworkCost, on_other_devices
from monai_ddfm.utils.files import atomic_path
from monai_ddfm.utils.json_files import write_documents

__all__ = ["cost_table", "speed_table", "speed_text", "write_speed_benchmark"]

_COLUMNS = (
    ("way", "way"),
    ("seconds", "s"),
    ("slices per second", "slices/s"),
    ("evaluations per second", "evaluations/s"),
    ("times plain", "x plain"),
    ("network share", "network"),
    ("rectifier share", "rectifier"),
    ("share of peak in network", "of peak"),
    ("peak bytes", "peak GB"),
    ("largest difference from plain", "off plain"),
)
_DEVICE_SHARE = 0.35


def write_speed_benchmark(result: dict[str, Any], folder: Path) -> None:
    """Write ``benchmark-speed.json``, ``.md`` and ``.png`` to a folder.

    Raises:
        InputError: if it cannot be written to.
    """
    write_documents(folder / "benchmark-speed", result, md=speed_text(result))
    with atomic_path(folder / "benchmark-speed.png") as temporary:
        _draw(result, temporary)


def speed_text(result: dict[str, Any]) -> str:
    """Return all tables that there is something for."""
    parts = [speed_table(result), cost_table(result)]
    if result.get("sizes"):
        parts.append(sizes_table(result["sizes"]))
    if result.get("stages"):
        parts.append(stages_table(result["stages"]))
    return "\n".join(parts)


def sizes_table(rows: Sequence[dict[str, Any]]) -> str:
    """Return one step of the default preset over sizes, types and batches."""
    lines = [
        "One step of the default preset, whole synthetic slices; an evaluation is a slice.",
        "",
        "| size | type | batch | slices/s | a further step, s/slice | network | peak GB |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [f"{row['size']} x {row['size']}", row["dtype"], str(row["batch"])]
        cells += [_cell("slices per second", row["slices per second"])]
        cells += [f"{row['seconds per slice-step']:.3f}"]
        cells += [_cell(key, row[key]) for key in ("network share", "peak bytes")]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def stages_table(seconds: dict[str, float]) -> str:
    """Return the stages of a whole run."""
    lines = [
        "The whole command with the preset `default`: registration, sampling, all files written.",
        "",
        "| stage | s | share |",
        "|---|---|---|",
    ]
    for stage, spent in seconds.items():
        lines.append(f"| {stage} | {spent:.2f} | {spent / seconds['total']:.0%} |")
    return "\n".join(lines) + "\n"


def speed_table(result: dict[str, Any]) -> str:
    """Return the rows as a Markdown table, under a line that says where and when."""
    machine = result["machine"]
    about = (
        f"{machine['processor']}, {machine['threads']} threads, device {machine['device']}, "
        f"PyTorch {machine['torch']}, monai_ddfm {result['version']}, {result['when'][:10]}; "
        f"volume {' x '.join(map(str, result['volume'][1:]))}, {result['steps']} steps, prior of "
        f"{result['network']['parameters'] / 1e6:.2f} M parameters; peak "
        + ", ".join(f"{p / 1e9:,.0f} Gop/s {name}" for name, p in result["peaks"].items())
    )
    lines = [about, "", "| " + " | ".join(head for _, head in _COLUMNS) + " |"]
    lines.append("|" + "---|" * len(_COLUMNS))
    for row in result["rows"]:
        lines.append("| " + " | ".join(_cell(key, row.get(key)) for key, _ in _COLUMNS) + " |")
    return "\n".join(lines) + "\n"


def cost_table(result: dict[str, Any]) -> str:
    """Return the cost model against the measurements, and what other devices would take."""
    peaks = result["peaks"]
    shares = {
        kind: max(
            (r["share of peak in network"] for r in result["rows"][1:] if kind in r["way"]),
            default=0.0,
        )
        for kind in peaks
    }
    lines = ["| way | operations | predicted s | measured s | off |", "|---|---|---|---|---|"]
    for row in result["rows"][1:]:
        kind = "bfloat16" if "bfloat16" in row["way"] else "float32"
        if not shares[kind]:
            continue
        rest = row["seconds"] * (1 - row["network share"])
        predicted = row["operations"] / (peaks[kind] * shares[kind]) + rest
        off = predicted / row["seconds"] - 1
        lines.append(
            f"| {row['way']} | {row['operations'] / 1e12:.2f} T | {predicted:.1f} | "
            f"{row['seconds']:.1f} | {off:+.0%} |"
        )
    largest = max(result["network"]["costs"], key=lambda cost: int(cost["operations"]))
    height, width = (int(side) for side in largest["size"].split(" x "))
    cost = NetworkCost(
        size=(height, width),
        operations=largest["operations"],
        weights=largest["weights"],
        features=largest["features"],
    )
    lines += [
        "",
        f"One evaluation at {largest['size']}: {cost.operations / 1e9:.2f} Gop, "
        f"{cost.moved(bytes_per_value=4, batch=1) / 1e6:.0f} MB moved in float32.",
        "",
        "| device, on paper | bound by | s per volume | hours for 10,000 |",
        "|---|---|---|---|",
    ]
    steps, slices = result["steps"], result["volume"][-1]
    for entry in on_other_devices(cost, evaluations=steps, slices=slices, share=_DEVICE_SHARE):
        lines.append(
            f"| {entry['device']} | {entry['bound by']} | {entry['seconds per volume']:.2f} | "
            f"{entry['hours for 10,000']:.1f} |"
        )
    return "\n".join(lines) + "\n"


def _cell(key: str, value: Any) -> str:
    if value is None:
        return ""
    if key == "way":
        return str(value)
    if key == "peak bytes":
        return f"{value / 1e9:.2f}"
    if "share" in key:
        return f"{value:.0%}"
    return f"{value:.1e}" if "difference" in key else f"{value:.2f}"


def _draw(result: dict[str, Any], path: Path) -> None:
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to import

    rows = result["rows"][::-1]
    figure = Figure(figsize=(8, 0.4 * len(rows) + 1.2), layout="constrained")
    axes = figure.subplots()
    names = [row["way"] for row in rows]
    left = [0.0] * len(rows)
    rest = [1 - row["network share"] - row["rectifier share"] for row in rows]
    shares = {
        "network": [row["network share"] for row in rows],
        "rectifier": [row["rectifier share"] for row in rows],
        "other": rest,
    }
    for label, part in shares.items():
        width = [max(0.0, share) * row["seconds"] for share, row in zip(part, rows, strict=True)]
        axes.barh(names, width, left=left, label=label)
        left = [before + more for before, more in zip(left, width, strict=True)]
    axes.set_xlabel("seconds for the volume")
    axes.legend()
    figure.savefig(path, format="png", dpi=120)
