"""Where the results of a case go in the output folder: names after BIDS.

The volumes are placed by the project's BIDS writer. What else a run leaves, report, picture,
provenance, log and DICOM series, follows all at once, the report last.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from monai_ddfm.apps.cohort.cases import Case
from monai_ddfm.data.writers.bids import bids_name, dataset_description, write_bids
from monai_ddfm.data.writers.formats import VOLUME_NAMES
from monai_ddfm.data.writers.nifti_maps import NIFTI_NAMES
from monai_ddfm.utils.files import StagedFolder, atomic_path
from monai_ddfm.utils.json_files import write_json
from monai_ddfm.visualize.preview import FIRST_ROW
from monai_ddfm.workflow import FusionResult

__all__ = ["Placed", "describe_output", "place_results"]

_THUMBNAIL_WIDTH = 480
_EXTRAS = {
    "report.html": ("report", ".html"),
    "preview.png": ("preview", ".png"),
    "provenance.json": ("provenance", ".json"),
    **{
        name: (Path(name).stem, Path(name).suffix)
        for name in VOLUME_NAMES
        if name not in NIFTI_NAMES
    },
}
_IGNORED = (
    "**/ct/",
    "**/spect/",
    "**/*_desc-report_*",
    "**/*_desc-preview_*",
    "**/*_desc-provenance_*",
    "**/*_desc-log_*",
    "**/*_desc-thumbnail_*",
    "**/*_desc-fusion_*",
    "**/*_dicom/",
    "cohort.csv",
    "cohort.json",
    "group.html",
    "logs/",
    ".monai-ddfm/",
)


@dataclass(frozen=True)
class Placed:
    """What was put where.

    Attributes:
        sizes: size by path below the output folder, of every file of the case.
        report: path of the page.
        thumbnail: path of the small picture.
    """

    sizes: dict[str, int]
    report: str
    thumbnail: str


def describe_output(out: Path, source: Path | None) -> None:
    """Write what a BIDS derivative says about itself, unless it says so already.

    Args:
        out: the output folder.
        source: the data set that the inputs come from; None if it must not be named.

    Raises:
        InputError: the folder cannot be written.
    """
    out.mkdir(parents=True, exist_ok=True)
    about = out / "dataset_description.json"
    if not about.exists():
        links = {} if source is None else {"raw": source}
        write_json(about, dataset_description([*links.values()], links=links))
    ignored = out / ".bidsignore"
    if not ignored.exists():
        with atomic_path(ignored) as temporary:
            temporary.write_text("\n".join(_IGNORED) + "\n", encoding="ascii")


def place_results(
    case: Case, result: FusionResult, *, log: Path, out: Path, root: Path | None
) -> Placed:
    """Put what a run has left into the output folder, all at once.

    Args:
        case: what was fused.
        result: what the run wrote.
        log: its log.
        out: the output folder.
        root: folder of the input, from which the sources are named; None if they must not be.

    Raises:
        InputError: a file cannot be written.
    """
    volumes = _place_volumes(case, result, out, root)
    report = _name(case, "report", ".html")
    thumbnail = _name(case, "thumbnail", ".jpg")
    with StagedFolder(out, marker=report) as staged:
        names = [thumbnail, _name(case, "log", ".txt")]
        for name, (about, ending) in _EXTRAS.items():
            if name not in result.files:
                continue
            names.append(_name(case, about, ending))
            shutil.copyfile(result.files[name], staged.path(names[-1]))
        shutil.copyfile(log, staged.path(names[1]))
        _write_thumbnail(result.files["preview.png"], staged.path(thumbnail))
        series = result.output_dir / "dicom"
        folder = report.replace("_desc-report", "").removesuffix(".html") + "_dicom"
        for file in sorted(path for path in series.rglob("*") if path.is_file()):
            names.append(f"{folder}/{file.relative_to(series).as_posix()}")
            shutil.copyfile(file, staged.path(names[-1]))
    return Placed(
        {name: (out / name).stat().st_size for name in sorted([*names, *volumes])},
        report,
        thumbnail,
    )


def _place_volumes(case: Case, result: FusionResult, out: Path, root: Path | None) -> list[str]:
    """Copy the volumes of a run under BIDS names; returns all paths, sidecars included."""
    if "fused.nii.gz" not in result.files:
        return []
    reading = result.provenance["reports"].get("reading", {})
    units = {one.name: str(reading.get(one.key, {}).get("units") or "") for one in case.sources}
    placed = write_bids(
        out,
        result.files,
        modality=case.sources,
        sources=[_source(Path(files[0]), root) for files in case.files.values()] if root else [],
        subject=case.subject,
        session=case.session,
        tracer=case.tracer,
        space=case.space,
        units=units,
    )
    names = [path.relative_to(out).as_posix() for path in placed.values()]
    ends = ".nii.gz"
    return names + [f"{name.removesuffix(ends)}.json" for name in names if name.endswith(ends)]


def _source(path: Path, root: Path) -> str:
    """Return the BIDS URI of a file in the input, or the URL of another."""
    if path.is_relative_to(root):
        return f"bids:raw:{path.relative_to(root).as_posix()}"
    return path.absolute().as_uri()


def _name(case: Case, description: str, ending: str) -> str:
    return bids_name(
        case.suffix,
        ending,
        subject=case.subject,
        description=description,
        ses=case.session,
        trc=case.tracer,
        space=case.space,
    )


def _write_thumbnail(preview: Path, path: Path) -> None:
    """Cut the axial planes of all volumes out of the picture of a run, and make them small."""
    with Image.open(preview, formats=("PNG",)) as picture:
        left, top, right, bottom = map(int, str(picture.info[FIRST_ROW]).split())
        row = picture.convert("RGB").crop((left, top, right, bottom))
    high = max(1, round(row.height * _THUMBNAIL_WIDTH / row.width))
    row.resize((_THUMBNAIL_WIDTH, high), Image.Resampling.LANCZOS).save(
        path, format="JPEG", quality=80, optimize=True
    )
