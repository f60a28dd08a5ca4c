"""Results as a BIDS derivative: names, sidecars and the description of the data set.

File names follow the Brain Imaging Data Structure [1]: entities such as ``sub-01`` in a fixed
order, then a suffix. PET has a place in BIDS; CT and SPECT have none yet, so their files are named
in the same way and listed in ``.bidsignore``.

References:
    [1] BIDS specification 1.10, "BIDS derivatives", https://bids-specification.readthedocs.io.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from monai_ddfm.data.writers.maps import STABILITY
from monai_ddfm.errors import InputError
from monai_ddfm.modalities import Modality
from monai_ddfm.sources import Source, as_sources
from monai_ddfm.utils.files import NOTICE, StagedFolder
from monai_ddfm.utils.hashes import describe_file
from monai_ddfm.utils.json_files import write_json

__all__ = ["bids_name", "bids_names", "dataset_description", "entities_of", "sidecar", "write_bids"]

_VERSION = "1.10.0"
_ORDER = ("sub", "ses", "trc", "space", "from", "to", "mode", "desc")
_TRANSFORM = "transform.tfm"
_EACH = ("weight.nii.gz", "weight_stability.nii.gz", "moving_registered.nii.gz")
_REPLACED = (
    "{} was replaced by another run before it was copied; give each run a folder of its own."
)
# Result: value of the entity `desc`, what the file is, its units (None: those of `moving`).
_VOLUMES = {
    "fused.nii.gz": ("fused", "DDFM fusion, luminance", "arbitrary"),
    "fused_rgb.nii.gz": ("fusedrgb", "DDFM fusion, color", "arbitrary"),
    "weight.nii.gz": ("weight", "share of the moving volume in the fusion", "1"),
    "moving_registered.nii.gz": ("registered", "moving volume on the grid of the MRI", None),
    "moving_recovered.nii.gz": (
        "recovered",
        "estimate of the moving volume without partial volumes",
        None,
    ),
    "fused_std.nii.gz": ("fusedstd", "standard deviation of the samples", "arbitrary"),
    "fused_low.nii.gz": ("fusedlow", "lower end of the 90 % interval of the fusion", "arbitrary"),
    "fused_high.nii.gz": ("fusedhigh", "upper end of the 90 % interval of the fusion", "arbitrary"),
    "weight_stability.nii.gz": ("stability", STABILITY, "1"),
}


def bids_name(
    suffix: str,
    extension: str,
    *,
    subject: str,
    description: str = "",
    folder: str = "",
    **entities: str,
) -> str:
    """Return the path of a derivative below the root of its data set.

    Args:
        suffix: for example ``pet``.
        extension: for example ``.nii.gz``.
        subject: label without ``sub-``.
        description: label of the entity ``desc``; empty for none.
        folder: the kind of data, which names the folder; by default the suffix.
        entities: further labels by entity: ``ses``, ``trc``, ``space``, ``from``, ``to``, ``mode``;
            empty ones are left out.

    Returns:
        For example ``sub-01/ses-01/pet/sub-01_ses-01_trc-FDG_space-T1w_desc-fused_pet.nii.gz``.

    Raises:
        InputError: a label is not made of letters and digits.
        ValueError: an entity is unknown.
    """
    labels = {"sub": subject, "desc": description, **entities}
    unknown = labels.keys() - set(_ORDER)
    if unknown:
        raise ValueError(f"unknown BIDS entities {sorted(unknown)}")
    labels = {entity: labels[entity] for entity in _ORDER if labels.get(entity)}
    for entity, label in labels.items():
        if not re.fullmatch(r"[0-9a-zA-Z]+", label):
            raise InputError(
                f"The BIDS label {entity}-{label} is not allowed: use letters and digits only."
            )
    folders = [f"{entity}-{labels[entity]}" for entity in ("sub", "ses") if entity in labels]
    stem = "_".join(f"{entity}-{label}" for entity, label in labels.items())
    return "/".join([*folders, folder or suffix, f"{stem}_{suffix}{extension}"])


def bids_names(
    modality: Modality | Sequence[Source],
    *,
    subject: str,
    session: str = "",
    tracer: str = "",
    space: str = "T1w",
) -> list[str]:
    """Return all names that `write_bids` may write below the root of a data set.

    Args:
        modality: of the moving volume, or the records of several.
        subject: label without ``sub-``.
        session: label without ``ses-``; empty for none.
        tracer: label without ``trc-``; empty for none.
        space: the image whose grid the results are on.

    Raises:
        InputError: a label is not made of letters and digits.
    """
    labels = {"subject": subject, "ses": session, "trc": tracer, "space": space}
    entries = _entries(as_sources(modality), labels)
    return [
        entry.name.replace(".nii.gz", ending)
        for entry in entries.values()
        for ending in (".nii.gz", ".json")
    ]


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """A result in the data set.

    Attributes:
        name: its path below the root.
        about: what it is.
        units: of its values; None for those of `source`.
        source: the moving volume that it is of, by name.
    """

    name: str
    about: str
    units: str | None
    source: str = ""


def _entries(sources: Sequence[Source], labels: Mapping[str, str]) -> dict[str, _Entry]:
    """Return what may be written, by the name of the result.

    What is of one moving volume is called after it; the fusion of several, after all of them.
    """
    several = len(sources) > 1
    found = {}
    for result, (description, about, units) in _VOLUMES.items():
        if several and result in _EACH:
            for source in sources:
                own = {**labels, **_labels_of(source)}
                name = bids_name(source.modality.lower(), ".nii.gz", description=description, **own)
                plain = about if "moving volume" in about else f"{about} of moving volume"
                words = plain.replace("moving volume", source.title)
                found[source.file(result)] = _Entry(
                    name=name, about=words, units=units, source=source.name
                )
            continue
        shared = {**labels, "trc": ""} if several else labels
        name = bids_name(_suffix(sources), ".nii.gz", description=description, **shared)
        found[result] = _Entry(name=name, about=about, units=units)
    return found


def _labels_of(source: Source) -> dict[str, str]:
    """Return the tracer, by which several volumes of one modality are told apart."""
    return {"trc": "" if source.name == source.modality.lower() else source.name}


def _suffix(sources: Sequence[Source]) -> str:
    """Return the suffix of what is of all moving volumes."""
    if len(sources) == 1:
        return sources[0].modality.lower()
    return "".join(dict.fromkeys(source.modality.lower() for source in sources))


def entities_of(path: str | Path) -> dict[str, str]:
    """Read the entities out of a BIDS file name.

    Args:
        path: for example ``.../sub-01_ses-01_trc-FDG_pet.nii.gz``; any other name has none.

    Returns:
        Label by entity, for example ``{"sub": "01", "ses": "01", "trc": "FDG"}``.
    """
    stem = Path(path).name.partition(".")[0]
    return dict(re.findall(r"(?:^|_)([a-zA-Z]+)-([0-9a-zA-Z]+)(?=_|$)", stem))


def dataset_description(
    sources: Sequence[str | Path] = (), *, links: Mapping[str, str | Path] | None = None
) -> dict[str, Any]:
    """Return what ``dataset_description.json`` says.

    Args:
        sources: roots or URLs of the data sets that the inputs come from.
        links: roots or URLs by the name that stands for them in BIDS URIs.
    """
    linked = {name: _url(root) for name, root in (links or {}).items()}
    return {
        "Name": f"MRI fused with CT, PET or SPECT ({NOTICE})",
        "BIDSVersion": _VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [
            {
                "Name": "monai-ddfm",
                "Version": metadata.version("monai-ddfm"),
                "Description": "Fusion with a diffusion prior (DDFM, arXiv 2303.06840)",
            }
        ],
        "SourceDatasets": [{"URL": _url(source)} for source in sources],
        **({"DatasetLinks": linked} if linked else {}),
    }


def _url(place: str | Path) -> str:
    return str(place) if "://" in str(place) else Path(place).absolute().as_uri()


def sidecar(description: str, *, sources: Sequence[str], units: str) -> dict[str, Any]:
    """Return what the JSON file beside a volume says.

    Args:
        description: what the volume is.
        sources: BIDS URIs or URLs of the volumes it was made from, first the one whose grid it is
            on; none if they must not be named.
        units: of its values.
    """
    named = {"Sources": list(sources), "SpatialReference": sources[0]} if sources else {}
    return {"Description": f"{description}; {NOTICE}", **named, "Units": units}


def write_bids(
    root: str | Path,
    results: Mapping[str, str | Path],
    *,
    modality: str | Modality | Sequence[Source],
    sources: Sequence[str],
    subject: str,
    session: str = "",
    tracer: str = "",
    space: str = "T1w",
    units: str | Mapping[str, str] = "",
    source_datasets: Sequence[str | Path] = (),
    links: Mapping[str, str | Path] | None = None,
    hashes: Mapping[str, str] | None = None,
) -> dict[str, Path]:
    """Copy the volumes of a run and its transform into a BIDS derivative, all of them or none.

    Args:
        root: of the data set; made if it does not exist.
        results: path by file name, as `SaveFusionOutputsd` summarizes them.
        modality: of the moving volume, or the records of several.
        sources: BIDS URIs or paths of the MRI and the moving volumes.
        subject: label without ``sub-``.
        session: label without ``ses-``; empty for none.
        tracer: label without ``trc-``; empty for none.
        space: the image whose grid the results are on.
        units: of the moving volume; of several, by name.
        source_datasets: roots or URLs of the data sets that `sources` belong to.
        links: the same by the name that stands for them in BIDS URIs.
        hashes: SHA-256 by file name that the results had when they were written.

    Returns:
        Path in the data set by name of the result.

    Raises:
        InputError: a label or the modality is not allowed, the folder cannot be written to, or a
            result is not what its hash says.
    """
    moving = as_sources(Modality.parse(modality) if isinstance(modality, str) else modality)
    labels = {"subject": subject, "ses": session, "trc": tracer, "space": space}
    entries = {n: one for n, one in _entries(moving, labels).items() if n in results}
    transforms = _transforms(moving, subject=subject, ses=session, to=space, mode="image")
    transforms = {result: name for result, name in transforms.items() if result in results}
    names = {**{result: one.name for result, one in entries.items()}, **transforms}
    root = Path(root).expanduser().absolute()
    marker = _entries(moving, labels)["fused.nii.gz"].name.replace(".nii.gz", ".json")
    with StagedFolder(root, marker=marker) as staged:
        for result, one in entries.items():
            path = staged.path(one.name)
            digest = _copy(results[result], path, (hashes or {}).get(result))
            own = units if isinstance(units, str) else units.get(one.source, "")
            content = sidecar(one.about, sources=sources, units=one.units or own or "arbitrary")
            content |= {"SHA256": digest}
            write_json(staged.path(one.name.replace(".nii.gz", ".json")), content)
        for result, name in transforms.items():
            _copy(results[result], staged.path(name), (hashes or {}).get(result))
        if not (root / "dataset_description.json").exists():
            write_json(
                staged.path("dataset_description.json"),
                dataset_description(source_datasets, links=links),
            )
        folders = dict.fromkeys((*(s.modality.lower() for s in moving), _suffix(moving)))
        if set(folders) != {"pet"} and not (root / ".bidsignore").exists():
            ignored = dict.fromkeys(("ct", "spect", *(f for f in folders if f != "pet")))
            lines = "".join(f"**/{one}/\n" for one in ignored)
            staged.path(".bidsignore").write_text(lines, encoding="ascii")
    return {result: root / name for result, name in names.items()}


def _transforms(sources: Sequence[Source], **way: str) -> dict[str, str]:
    """Return the names of the transforms, by the name of the result."""
    found = {}
    for source in sources:
        label = source.name or source.modality.lower()
        name = bids_name("xfm", ".tfm", folder=source.modality.lower(), **{**way, "from": label})
        found[source.file(_TRANSFORM)] = name
    return found


def _copy(source: str | Path, target: Path, wanted: str | None) -> str:
    """Copy a result, see that it is the one that is meant, and return its hash."""
    try:
        shutil.copyfile(source, target)
    except FileNotFoundError as error:
        raise InputError(_REPLACED.format(source)) from error
    digest = str(describe_file(target)["sha256"])
    if wanted not in (None, digest):
        raise InputError(_REPLACED.format(source))
    return digest
