"""Results of fusing pictures: a picture beside a record of how it came to be.

For ``F.png`` the record is ``F.json``, and the share of the second picture, if it is asked for,
``F_weight.png``. Several samples add ``F_std.png``, the standard deviation of the luminance with
white at 1 (gray, 16 bits), and with the share ``F_weight_stability.png``. A record stands only
where its picture is complete.
"""

from __future__ import annotations

import errno
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from monai.transforms import Transform
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from monai_ddfm.data.readers import PICTURE_SUFFIXES, read_picture
from monai_ddfm.data.writers.provenance import RunRecord, collect_provenance
from monai_ddfm.errors import InputError
from monai_ddfm.utils.arrays import as_array
from monai_ddfm.utils.files import NOTICE, atomic_path, prepare_output_dir
from monai_ddfm.utils.json_files import write_json
from monai_ddfm.utils.places import check_apart
from monai_ddfm.utils.warnings_log import log_warnings

__all__ = [
    "SavePictureD",
    "SavePictureDict",
    "SavePictured",
    "plan_pictures",
    "write_picture",
]

_JPEG: Final = (".jpg", ".jpeg")
_TIFF: Final = (".tif", ".tiff")
_TIFF_DESCRIPTION: Final = 270
_TITLES: Final = {
    "weight": "share of the second picture",
    "std": "standard deviation of the fused luminance, white is 1",
    "weight_stability": "how much the samples agree on the share of the second picture",
}


def plan_pictures(
    fixed: str | Path, moving: str | Path, output: str | Path
) -> list[dict[str, str]]:
    """Say which pictures are fused and where each result goes, before anything is computed.

    Args:
        fixed: a picture, or a folder of pictures.
        moving: likewise; in two folders, pictures of the same name (without suffix) are a pair.
        output: the picture to write; for folders, the folder for PNG files of those names.

    Returns:
        A case for each pair: the paths ``fixed``, ``moving`` and ``output``.

    Raises:
        InputError: if something is missing or has no partner, the output has no known suffix, would
            overwrite a source, cannot be written, or if a picture of a folder cannot be used.
    """
    fixed, moving, output = (Path(path).expanduser() for path in (fixed, moving, output))
    for path in (fixed, moving):
        if not path.exists():
            raise InputError(f"{path} does not exist; check the path.")
    if fixed.is_dir() != moving.is_dir():
        raise InputError(f"{fixed} and {moving} must be two pictures or two folders.")
    if not fixed.is_dir():
        cases = [{"fixed": str(fixed), "moving": str(moving), "output": str(output)}]
    else:
        cases = _pairs_in(fixed, moving, output)
    for case in cases:
        target = Path(case["output"])
        if target.suffix.lower() not in PICTURE_SUFFIXES:
            known = ", ".join(PICTURE_SUFFIXES)
            raise InputError(f"{target} is no name for a picture; end it in one of {known}.")
        sources = [Path(case[key]).resolve() for key in ("fixed", "moving")]
        if target.resolve() in sources:
            raise InputError(f"{target} is one of the sources; give another name for the result.")
        if sources[0] == sources[1]:
            raise InputError(f"{fixed} is given twice; give two different pictures.")
    _check_places(cases, fixed, moving)
    if len(cases) > 1:
        _check_all(cases)
    for folder in dict.fromkeys(Path(case["output"]).parent for case in cases):
        names = [Path(c["output"]).name for c in cases if Path(c["output"]).parent == folder]
        prepare_output_dir(folder, names=names)
    return cases


def _check_places(cases: list[dict[str, str]], fixed: Path, moving: Path) -> None:
    """Refuse results that would be written over any source, or into a folder of sources."""
    targets = [Path(case["output"]) for case in cases]
    beside = [
        target.with_name(f"{target.stem}_{role}.png") for target in targets for role in _TITLES
    ]
    written = [*targets, *beside, *(target.with_suffix(".json") for target in targets)]
    sources = {case[key]: case[key] for case in cases for key in ("fixed", "moving")}
    folders = {"the first folder": fixed, "the second folder": moving}
    check_apart({**sources, **folders}, written=written, mixed=targets)


def _pairs_in(fixed: Path, moving: Path, output: Path) -> list[dict[str, str]]:
    found = []
    for folder in (fixed, moving):
        paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in PICTURE_SUFFIXES)
        by_name = {path.stem: path for path in paths}
        if not paths:
            raise InputError(f"{folder} holds no pictures (PNG, JPEG or TIFF); check the path.")
        if len(by_name) < len(paths):
            raise InputError(f"{folder} has two pictures of one name; rename one.")
        found.append(by_name)
    if alone := sorted(found[0].keys() ^ found[1].keys()):
        path = {**found[0], **found[1]}[alone[0]]
        raise InputError(f"{path} has no partner in the other folder; add it or remove this one.")
    if output.is_file():
        raise InputError(f"{output} is a file; give a folder for the results of two folders.")
    return [
        {
            "fixed": str(found[0][name]),
            "moving": str(found[1][name]),
            "output": str(output / f"{name}.png"),
        }
        for name in found[0]
    ]


def _check_all(cases: list[dict[str, str]]) -> None:
    """Read every picture, so that a damaged one does not show in the middle of the work."""
    problems = []
    for case in cases:
        try:
            sizes = [read_picture(case[key])[0].shape[-2:] for key in ("fixed", "moving")]
            if sizes[0] != sizes[1]:
                words = " and ".join(f"{width} x {height}" for height, width in sizes)
                problems.append(
                    f"{case['fixed']} and {case['moving']} have {words} pixels; give two pictures "
                    "of the same place and size."
                )
        except InputError as error:
            problems.append(str(error))
    if problems:
        others = len(problems) - 1
        more = f" {others} other pair{'s' * (others > 1)} cannot be used either." if others else ""
        raise InputError(problems[0] + more)


def write_picture(
    path: str | Path, image: NDArray[np.floating[Any]], *, bits: int = 8, title: str = ""
) -> None:
    """Write a picture, whole or not at all.

    Args:
        path: its suffix decides on the format: PNG, JPEG or TIFF.
        image: [1 or 3, H, W] in [0, 1]; what is outside is cut off.
        bits: 8, or 16 for a gray PNG or TIFF.
        title: goes into the file beside the notice.

    Raises:
        InputError: if the file cannot be written.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    deep = bits == 16 and len(image) == 1 and suffix not in _JPEG
    white, kind = (65535, np.uint16) if deep else (255, np.uint8)
    levels = np.rint(np.clip(image, 0, 1) * float(white)).astype(kind)
    picture = Image.fromarray(levels[0] if len(levels) == 1 else np.moveaxis(levels, 0, -1))
    words = f"{title}; {NOTICE}" if title else NOTICE
    with atomic_path(path) as temporary:
        if suffix in _JPEG:
            options = {"quality": 95, "subsampling": 0, "comment": words}
            picture.save(temporary, format="JPEG", **options)
        elif suffix in _TIFF:
            about = {_TIFF_DESCRIPTION: words}
            picture.save(temporary, format="TIFF", compression="tiff_deflate", tiffinfo=about)
        else:
            text = PngInfo()
            text.add_text("Description", words)
            picture.save(temporary, format="PNG", pnginfo=text)


class SavePictured(Transform):  # type: ignore[misc]
    """Write the fused picture and its record.

    Args:
        record: options and times of the run.
        weight: write the share of the moving picture too.
        fixed_key: the first picture; the path it was read from is in its metadata.
        moving_key: the second.
        fused_key: luminance [1, H, W] in [0, 1].
        rgb_key: [3, H, W] in [0, 1]; may be absent.
        weight_key: [1, H, W] in [0, 1].
        std_key: standard deviation of the luminance of several samples, likewise; may be absent.
        stability_key: how much the samples agree on the weight, likewise.
        bound_key: figures from `CheckBoundd`.
        path_key: where the picture goes.
        output_key: key under which the case gets the summary.
    """

    def __init__(
        self,
        *,
        record: RunRecord | None = None,
        weight: bool = False,
        fixed_key: str = "fixed",
        moving_key: str = "moving",
        fused_key: str = "fused",
        rgb_key: str = "fused_rgb",
        weight_key: str = "weight",
        std_key: str = "fused_std",
        stability_key: str = "weight_stability",
        bound_key: str = "bound",
        path_key: str = "output",
        output_key: str = "outputs",
    ) -> None:
        self.record = record or RunRecord()
        self.source_keys = {"fixed": fixed_key, "moving": moving_key}
        self.fused_key, self.rgb_key = fused_key, rgb_key
        self.maps = {"std": std_key}
        if weight:
            self.maps |= {"weight": weight_key, "weight_stability": stability_key}
        self.bound_key, self.path_key, self.output_key = bound_key, path_key, output_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write the files of one case.

        Args:
            data: the case at the end of the chain.

        Returns:
            The case with a summary: ``files`` (path by role) and ``bound``.

        Raises:
            InputError: if a file cannot be written.
        """
        target = Path(data[self.path_key]).absolute()
        sources = {role: data[key].meta for role, key in self.source_keys.items()}
        bits = max(int(meta.get("bits", 8)) for meta in sources.values())
        self.record.inputs = {role: meta["filename_or_obj"] for role, meta in sources.items()}
        files = {"fused": target, "record": target.with_suffix(".json")}
        maps = {role: key for role, key in self.maps.items() if key in data}
        files |= {role: target.with_name(f"{target.stem}_{role}.png") for role in maps}
        with self.record.stage("writing"):
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                files["record"].unlink(missing_ok=True)
            except OSError as error:
                words = error.strerror or errno.errorcode.get(error.errno or 0, "unknown error")
                raise InputError(f"Cannot write {target}: {words}.") from error
            rgb = data.get(self.rgb_key)
            fused = as_array(data[self.fused_key] if rgb is None else rgb)
            write_picture(target, fused, bits=bits, title="DDFM fusion")
            for role, key in maps.items():
                deep = 16 if role == "std" else 8
                write_picture(files[role], as_array(data[key]), bits=deep, title=_TITLES[role])
        written = {path.name: path for role, path in files.items() if role != "record"}
        details = {"bound": data.get(self.bound_key)}
        provenance = collect_provenance(self.record, data, outputs=written, details=details)
        write_json(files["record"], provenance)
        log_warnings(f"{target.name}: {text}" for text in provenance["warnings"])
        self.record.restart()
        summary = {
            "files": {role: str(path) for role, path in files.items()},
            "bound": details["bound"],
        }
        return {**data, self.output_key: summary}


SavePictureD = SavePictureDict = SavePictured
