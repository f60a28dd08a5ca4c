"""The BIDS derivative of a run, as a transform for the end of the chain of a configuration."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.transforms import Transform

from monai_ddfm.data.writers.bids import bids_names, entities_of, write_bids
from monai_ddfm.data.writers.formats import format_named
from monai_ddfm.errors import InputError
from monai_ddfm.modalities import Modality
from monai_ddfm.sources import Source, as_sources
from monai_ddfm.utils.files import prepare_output_dir
from monai_ddfm.utils.places import check_apart

__all__ = ["SaveBidsD", "SaveBidsDict", "SaveBidsd"]

_OPTIONS = ("root", "subject", "session", "tracer", "space")
_ABOUT = "dataset_description.json"


class SaveBidsd(Transform):  # type: ignore[misc]
    """Copy the NIfTI volumes of a run into a BIDS derivative data set under BIDS names.

    Labels that are not given are read from the names of the inputs: the subject's from the MRI's,
    session and tracer from that of `moving`. Sources inside a BIDS data set are named by BIDS URIs,
    others by URLs.

    Args:
        options: ``root`` of the data set, and if need be ``subject``, ``session``, ``tracer`` and
            ``space`` (by default T1w), labels without their prefix.
        inputs: paths of the MRI and of the moving volumes, in this order.
        modality: of `moving`, see `monai_ddfm.modalities`; or the records of several.
        output_format: one with NIfTI files; without them there is nothing to copy.
        deidentify: name no sources.
        outputs_key: summary of `SaveFusionOutputsd`.
        moving_key: the moving volume, whose units are noted.
        output_key: key under which the case gets the paths, by name of the result.

    Raises:
        InputError: an option is unknown, a label is missing or not allowed, no NIfTI is written, or
            the data set cannot be written to.
    """

    def __init__(
        self,
        options: Mapping[str, Any],
        *,
        inputs: Mapping[str, str | Path],
        modality: str | Modality | Sequence[Source],
        output_format: str = "nifti",
        deidentify: bool = False,
        outputs_key: str = "outputs",
        moving_key: str = "moving",
        output_key: str = "bids",
    ) -> None:
        given = {str(key): str(value) for key, value in options.items() if value is not None}
        if unknown := sorted(set(given) - set(_OPTIONS)):
            raise InputError(f"bids has no option {unknown[0]!r}; use {', '.join(_OPTIONS)}.")
        if not given.get("root"):
            raise InputError("a BIDS derivative needs a folder; give one with --bids-root.")
        if "fused.nii.gz" not in format_named(output_format).names:
            raise InputError("a BIDS derivative is made of NIfTI; use --format nifti or both.")
        self.moving = as_sources(modality)
        if len(self.moving) > 1 and given.get("tracer"):
            raise InputError(
                "a tracer is of one moving volume; leave --bids-tracer out, the names of several "
                "tell theirs."
            )
        self.labels = _labels(given, inputs)
        names = bids_names(self.moving, **self.labels)  # before anything is tried in the folder
        self.root = prepare_output_dir(given["root"])
        check_apart(inputs, written=[self.root / name for name in names])
        self.sources, self.links = ([], {}) if deidentify else _sources(inputs)
        self.outputs_key, self.output_key = outputs_key, output_key
        self.moving_keys = {s.name: s.key if s.name else moving_key for s in self.moving}

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Copy the files of one case.

        Args:
            data: the case after `SaveFusionOutputsd`.

        Returns:
            The case with the paths in the data set.

        Raises:
            InputError: a file cannot be written, or another run has replaced the results.
        """
        summary = data[self.outputs_key]
        outputs = summary.get("provenance", {}).get("outputs", {})
        written = write_bids(
            self.root,
            summary["files"],
            modality=self.moving,
            sources=self.sources,
            units={
                name: str(data[key].meta.get("units") or "")
                for name, key in self.moving_keys.items()
            },
            source_datasets=list(self.links.values()),
            links=self.links,
            hashes={name: about["sha256"] for name, about in outputs.items()},
            **self.labels,
        )
        return {**data, self.output_key: {name: str(path) for name, path in written.items()}}


def _labels(given: Mapping[str, str], inputs: Mapping[str, str | Path]) -> dict[str, str]:
    fixed, *others = (entities_of(path) for path in inputs.values())
    subjects = {entities["sub"] for entities in (fixed, *others) if "sub" in entities}
    if "subject" not in given and len(subjects) != 1:
        why = "name different subjects" if subjects else "do not name the subject"
        raise InputError(
            f"the file names of {' and '.join(map(str, inputs.values()))} {why}; give its label "
            "with --bids-subject."
        )
    # Of several moving volumes each has its own tracer, by its name.
    moving = others[0] if len(others) == 1 else {}
    return {
        "subject": given.get("subject") or next(iter(subjects)),
        "session": given.get("session", moving.get("ses", fixed.get("ses", ""))),
        "tracer": given.get("tracer", moving.get("trc", "")),
        "space": given.get("space", "T1w"),
    }


def _sources(inputs: Mapping[str, str | Path]) -> tuple[list[str], dict[str, Path]]:
    """Return the sources as BIDS URIs or URLs, and the data sets that the URIs refer to."""
    found: list[str] = []
    links: dict[str, Path] = {}
    for given in inputs.values():
        path = Path(given).expanduser().absolute()
        root = next((folder for folder in path.parents if (folder / _ABOUT).is_file()), None)
        if root is None:
            found.append(path.as_uri())
            continue
        name = next((name for name, other in links.items() if other == root), None)
        name = name or ("raw" if not links else f"raw{len(links) + 1}")
        links[name] = root
        found.append(f"bids:{name}:{path.relative_to(root).as_posix()}")
    return found, links


SaveBidsD = SaveBidsDict = SaveBidsd
