"""What a person wants to know of the record of a run: warnings first, then figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from monai_ddfm.utils.remarks import name_of_source, warnings

__all__ = ["figures", "warnings"]

Record = Mapping[str, Any]

_FUSION_OPTIONS = (
    "preset",
    "speed",
    "steps",
    "prior_share",
    "fidelity",
    "noise_margin",
    "favor_moving",
    "seed",
    "batch_size",
    "amp",
)
_PROGRAMS = ("monai-ddfm", "monai", "torch")


def figures(provenance: Record) -> dict[str, list[tuple[str, str]]]:
    """Return the figures of a run: label and text, by heading.

    Args:
        provenance: the record of a run.
    """
    sections = {
        "Sources": [*_sources(provenance)],
        "Registration": [*_registration(provenance)],
        "Fusion": [*_fusion(provenance)],
        "Recovery": [*_recovery(provenance)],
        "Run": [*_run(provenance)],
    }
    return {heading: rows for heading, rows in sections.items() if rows}


def _sources(provenance: Record) -> Iterator[tuple[str, str]]:
    reading = provenance.get("reports", {}).get("reading", {})
    for role, about in provenance.get("inputs", {}).items():
        report = reading.get(role, {})
        yield f"{role}", str(about.get("path", "not named"))
        shape = " x ".join(str(n) for n in report.get("shape", [])[1:])
        spacing = " x ".join(f"{mm:.3g}" for mm in report.get("spacing_mm", []))
        kind = " ".join(t for t in (report.get("modality"), report.get("format")) if t)
        if shape:
            yield f"{role}: voxels", f"{shape} of {spacing} mm, {kind}"
        if report.get("units"):
            suv = report.get("suv", {}).get("method")
            yield f"{role}: units", f"{report['units']}{f' ({suv})' if suv else ''}"
    for key, report in provenance.get("reports", {}).get("intensity", {}).items():
        ends = f"{report.get('lower', 0):.5g} to {report.get('upper', 0):.5g}"
        cut = ", ".join(
            f"{report[key]:.1%} {word}"
            for key, word in (("clipped_below", "below"), ("clipped_above", "above"))
            if key in report
        )
        window = f"{report.get('window', '')}: {ends}{f'; {cut}' if cut else ''}"
        yield f"{name_of_source(key) or report.get('modality', '')}: gray scale", window


def _registration(provenance: Record) -> Iterator[tuple[str, str]]:
    for key, report in provenance.get("reports", {}).get("registration", {}).items():
        name = name_of_source(key)
        for label, text in _registered(report):
            yield f"{name}: {label}" if name else label, text


def _registered(report: Record) -> Iterator[tuple[str, str]]:
    """Yield the figures of the registration of one moving volume."""
    yield "verdict", str(report.get("status", "not judged"))
    yield "method", str(report.get("method", "not known"))
    before, after = report.get("mi_before"), report.get("mi_after")
    if before is not None and after is not None:
        yield "mutual information", f"{before:.3f} before, {after:.3f} after (nats)"
    part = str(report.get("region", "head"))
    parts = "bodies" if part == "body" else f"{part}s"
    for name, label, form in (
        ("dependence", "dependence", "{:.3f}"),
        ("failure_probability", "probability of failure, by all figures", "{:.1%}"),
        ("agreement", "agreement of searches from near starts", "{:.0%}"),
        ("rival_dependence", "dependence in the best other orientation", "{:.3f}"),
        ("head_covered", f"fixed {part} covered", "{:.0%}"),
        ("head_overlap", f"overlap of the {parts} (Dice)", "{:.2f}"),
        ("rotation_deg", "rotation", "{:.1f} degrees"),
    ):
        if report.get(name) is not None:
            yield label, form.format(report[name])
    if corners := report.get("corner_displacement_mm"):
        moved = f"{min(corners):.1f} to {max(corners):.1f} mm"
        yield f"displacement of the {part}'s corners", moved
    if unseen := report.get("not_seen"):
        yield "what no figure sees", "; ".join(str(text) for text in unseen)


def _fusion(provenance: Record) -> Iterator[tuple[str, str]]:
    options = provenance.get("options", {})
    for name in _FUSION_OPTIONS:
        if options.get(name) is not None:
            yield name.replace("_", " "), str(options[name])
    for report in _reports(provenance, "noise"):
        # The scale from -1 to 1 is 255 gray levels long.
        dark, bright = (report[key] * 255 / 2 for key in ("at_black", "at_white"))
        kind = f", {report['kind']}" if "kind" in report else ""
        yield "noise of the sources", f"{dark:.1f} at black, {bright:.1f} at white, of 255{kind}"
    bound = provenance.get("bound") or {}
    if bound.get("largest") is not None:
        yield "largest excess over the sources", f"{bound['largest']:.2g}"
    prior = provenance.get("prior") or {}
    if prior.get("sha256"):
        yield "prior (SHA-256)", str(prior["sha256"])


def _recovery(provenance: Record) -> Iterator[tuple[str, str]]:
    for report in _reports(provenance, "recovery"):
        if report.get("estimate"):
            yield "moving_recovered", "an estimate; the fusion does not use it"
            width = f"{report['fwhm_mm']:.1f} mm (FWHM), {report['fwhm_source']}"
            yield "point spread", width


def _run(provenance: Record) -> Iterator[tuple[str, str]]:
    if provenance.get("finished_utc"):
        yield "finished", f"{provenance['finished_utc']} (UTC)"
    for stage, seconds in provenance.get("seconds", {}).items():
        yield f"seconds: {stage}", f"{seconds:.1f}"
    for name, used in provenance.get("memory", {}).items():
        if used:
            yield name.replace("_bytes", "").replace("_", " "), f"{used / 2**20:.0f} MiB"
    hardware = provenance.get("hardware", {})
    if hardware:
        yield "device", f"{hardware.get('device')}: {hardware.get('device_name')}"
    versions = provenance.get("software", {})
    named = [f"{name} {versions[name]}" for name in _PROGRAMS if versions.get(name)]
    if named:
        yield "software", ", ".join(named)


def _reports(provenance: Record, name: str) -> list[Record]:
    return list(provenance.get("reports", {}).get(name, {}).values())
