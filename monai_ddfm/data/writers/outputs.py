"""What a run leaves in its folder, as the transform that ends the chain of a configuration.

- ``fused.nii.gz``: luminance of the fusion in [0, 1], float32.
- ``fused_rgb.nii.gz``: the fusion in color, RGB24 (PET and SPECT).
- ``weight.nii.gz``: share of `moving` in every voxel, 0 to 1.
- ``fused_std.nii.gz``, ``weight_stability.nii.gz``: of several samples, the standard deviation of
  the luminance and how much they agree on the share, 0 to 1; ``fused_low.nii.gz`` and
  ``fused_high.nii.gz``: where the luminance lies with a probability of 90 %.
- ``moving_registered.nii.gz``: `moving` in its own units.
- ``moving_recovered.nii.gz``: if it is asked for, an estimate of `moving` without partial volumes.
- ``fusion.nrrd``: instead of these volumes all of them in one file, if it is asked for.
- ``transform.tfm``: from points of the MRI to points of `moving`, for ITK and 3D Slicer; absent if
  the transform is a dense field, which stays in the file it was read from.
- ``preview.png``: three planes of all of them.
- ``report.html``: a page to look through them, with the figures and warnings of the run.
- ``dicom/``: what `monai_ddfm.data.writers.dicom` writes, if it is asked for.
- ``provenance.json``: how they came to be; written last: where it stands, all is complete.

The volumes are on the MRI's own grid. Of several moving volumes the weight and its stability, the
registered volume and the transform of each have its name in theirs: ``weight_pet.nii.gz``.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.transforms import Transform

from monai_ddfm.data.writers.anonymity import without_identity
from monai_ddfm.data.writers.dicom_results import (
    DICOM_FOLDER,
    DICOM_INDEX,
    DicomPart,
    results_in,
)
from monai_ddfm.data.writers.formats import FORMATS, VOLUME_NAMES, format_named
from monai_ddfm.data.writers.inputs import inputs_of, sources_of
from monai_ddfm.data.writers.maps import RECOVERED, SPREAD, Maps, check_on_grid
from monai_ddfm.data.writers.provenance import RunRecord, collect_provenance
from monai_ddfm.modalities import Modality
from monai_ddfm.sources import Moved, Source, as_sources
from monai_ddfm.utils.arrays import as_array
from monai_ddfm.utils.files import (
    NOTICE,
    StagedFolder,
    atomic_path,
    only_one,
    prepare_output_dir,
)
from monai_ddfm.utils.hashes import describe_file
from monai_ddfm.utils.json_files import jsonable, write_json
from monai_ddfm.utils.places import check_apart
from monai_ddfm.utils.remarks import warnings
from monai_ddfm.visualize.panels import Panel, panels_of
from monai_ddfm.visualize.preview import write_preview
from monai_ddfm.visualize.report import write_report

__all__ = [
    "MARKER",
    "ON_REQUEST_NAMES",
    "OUTPUT_NAMES",
    "SaveFusionOutputsD",
    "SaveFusionOutputsDict",
    "SaveFusionOutputsd",
]

_BESIDE = ("transform.tfm", "preview.png", "report.html")
OUTPUT_NAMES = (*FORMATS["nifti"].names, *_BESIDE)
"""What a run leaves in the default format, beside `MARKER`."""
_ALL_NAMES = (*VOLUME_NAMES, *_BESIDE)
MARKER = "provenance.json"
_EACH = ("weight.nii.gz", "weight_stability.nii.gz", "moving_registered.nii.gz", "transform.tfm")
"""Of each moving volume; of several, their names are in them."""
_OF_A_SOURCE = re.compile(
    r"(weight|weight_stability|moving_registered)_[a-z0-9]+\.nii\.gz|transform_[a-z0-9]+\.tfm"
)

ON_REQUEST_NAMES = tuple(f"{key}.nii.gz" for key in (*SPREAD, "weight_stability", RECOVERED))
"""Those of `OUTPUT_NAMES` that only some options bring."""
_TRANSFORM_TEXT = "ddfm_transform"  # metadata: text of the .tfm file, fixed to moving

logger = logging.getLogger(__name__)


class SaveFusionOutputsd(Transform):  # type: ignore[misc]
    """Write everything a run leaves, all at once at the end or not at all.

    The folder is tried when the transform is made, before anything is computed. A run that is
    killed leaves no half-written file, and the results of an earlier run stay until the new ones
    are complete.

    Args:
        output_dir: the folder; made if it does not exist.
        modality: of `moving`, see `monai_ddfm.modalities`; or the records of several moving
            volumes, whose volumes and weights are under their own keys, and whose files are called
            by their names: ``weight_pet.nii.gz``.
        record: options and times of the run, for the provenance.
        output_format: a name in `monai_ddfm.data.writers.formats.FORMATS`; with "dicom" the volumes
            are left to `monai_ddfm.data.writers.dicom`, and the transform, the pictures and the
            provenance are written all the same.
        deidentify: leave out of provenance and report what identifies the patient.
        fixed_key: the MRI on its own grid, [1, H, W, D] in its own units.
        moving_key: [1, H, W, D] on that grid in its own units, or [3, H, W, D] colors in 0..255;
            the transform is taken from its metadata, where the registration leaves it.
        fused_key: [1, H, W, D] on that grid, luminance in [0, 1].
        weight_key: [1, H, W, D] on that grid, share of `moving` in [0, 1]; may be absent.
        rgb_key: [3, H, W, D] on that grid, colors in [0, 1]; may be absent.
        bound_key: figures from `CheckBoundd`.
        output_key: key under which the case gets the summary.
        dicom: a `SaveFusionDicomd` for the same folder, whose objects become part of the set.

    Raises:
        InputError: the folder cannot be written to, the modality or format is unknown, or an input
            is among what would be written or removed.
    """

    def __init__(
        self,
        output_dir: str | Path,
        *,
        modality: str | Modality | Sequence[Source],
        record: RunRecord | None = None,
        output_format: str = "nifti",
        deidentify: bool = False,
        fixed_key: str = "fixed",
        moving_key: str = "moving",
        fused_key: str = "fused",
        weight_key: str = "weight",
        rgb_key: str = "fused_rgb",
        bound_key: str = "bound",
        output_key: str = "outputs",
        dicom: DicomPart | None = None,
    ) -> None:
        self.format = format_named(output_format)
        self.sources = as_sources(modality)
        self.names = (*_ALL_NAMES, *(s.file(n) for s in self.sources if s.name for n in _EACH))
        self.folder = prepare_output_dir(output_dir, names=(*self.names, MARKER))
        self.record = record or RunRecord()
        self.deidentify = bool(deidentify)
        self.fixed_key = fixed_key
        self.fused_key = fused_key
        # By the name of a source; the keys given are those of the only one.
        self.moving_keys = {s.name: s.key if s.name else moving_key for s in self.sources}
        self.weight_keys = {s.name: s.weight_key if s.name else weight_key for s in self.sources}
        self.rgb_key = rgb_key
        self.bound_key = bound_key
        self.output_key = output_key
        self.dicom = dicom
        check_apart(inputs_of(self.record), **self._places())
        if dicom:
            dicom.owned()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write the files of one case.

        Args:
            data: the case at the end of the chain.

        Returns:
            The case with a summary: ``folder``, ``files`` (path by file name), ``bound``,
            ``seconds``, ``warnings``, ``provenance`` (the content of its file) and ``notice``.

        Raises:
            InputError: a file cannot be written.
            ValueError: a volume is not on the MRI's grid or the fusion is not finite.
        """
        case = self._checked(data)
        read = sources_of(case, self.fixed_key, *self.moving_keys.values())
        check_apart(read, **self._places())
        earlier = (*self._earlier_of_others(), *self._earlier_dicom())
        with StagedFolder(
            self.folder, marker=MARKER, owned=(*self.names, *earlier), inner=(DICOM_INDEX,)
        ) as staged:
            objects = self.dicom and self.dicom.stage(
                case, lambda name: staged.path(f"{DICOM_FOLDER}/{name}")
            )
            with self.record.stage("writing"):
                if self.format.write:
                    self.format.write(self._maps(case), staged.path)
                self._write_transforms(staged, case)
                panels, affine = self._panels(case), case[self.fixed_key].affine
                title = f"MRI + {' + '.join(s.title for s in self.sources)} fusion"
                preview = staged.path("preview.png")
                write_preview(preview, panels, affine, title=title)
            provenance = self._provenance(staged, case)
            report = staged.path("report.html")
            with self.record.stage("writing"):
                write_report(
                    report, panels, affine, provenance=provenance, title=title, preview=preview
                )
            provenance["outputs"][report.name] = describe_file(report)
            provenance["seconds"] = self.record.seconds()
            write_json(staged.path(MARKER), provenance)
        if self.dicom and objects:
            case[self.dicom.output_key] = self._send(self.dicom, case, objects, provenance)
        summary = {
            "folder": str(self.folder),
            "files": {name: str(self.folder / name) for name in (*provenance["outputs"], MARKER)},
            "bound": provenance["bound"],
            "seconds": provenance["seconds"],
            "warnings": provenance["warnings"],
            "provenance": jsonable(provenance),
            "notice": NOTICE,
        }
        excess = (provenance["bound"] or {}).get("largest")
        logger.info(
            "Wrote the fusion, see %s; largest excess over the sources: %s; %s.",
            self.folder / "preview.png",
            "not measured" if excess is None else f"{excess:.2g}",
            NOTICE,
        )
        self.record.restart()
        return {**case, self.output_key: summary}

    def _places(self) -> dict[str, list[Path]]:
        """Return what a run writes or removes, and the folder that it clears, of an output folder.

        The folder of DICOM results counts whatever the format: those of an earlier run go.
        """
        every = (*self.names, *self._earlier_of_others(), MARKER)
        names = [self.folder / name for name in every]
        objects = self.folder / DICOM_FOLDER
        # A series that is read with its folder must not get others among its files.
        return {"written": names, "cleared": [objects], "mixed": [objects] if self.dicom else []}

    def _earlier_of_others(self) -> list[str]:
        """Return what an earlier run has left of moving volumes that this one does not have."""
        try:
            record = json.loads((self.folder / MARKER).read_text(encoding="utf-8"))
            written = [str(name) for name in record["outputs"]]
        except (OSError, ValueError, KeyError, TypeError):
            return []
        return [name for name in written if _OF_A_SOURCE.fullmatch(name) and name not in self.names]

    def _earlier_dicom(self) -> list[str]:
        """Return the DICOM results of an earlier run, whose place the new ones take."""
        if self.dicom:
            return [f"{DICOM_FOLDER}/{name}" for name in self.dicom.owned()]
        return [f"{DICOM_FOLDER}/{name}" for name in results_in(self.folder / DICOM_FOLDER)]

    def _send(
        self, dicom: Any, case: dict[Hashable, Any], objects: Any, provenance: dict[str, Any]
    ) -> dict[str, Any]:
        """Send the DICOM results to an archive, if there is one, and note how many went."""
        summary: dict[str, Any] = dicom.finish(case, *objects)
        if summary["pushed"]:
            written = jsonable(provenance)
            for report in provenance["reports"].get("dicom", {}).values():
                report["pushed"] = summary["pushed"]
            with only_one(self.folder):
                if self._is_ours(written):
                    write_json(self.folder / MARKER, provenance)
        return summary

    def _is_ours(self, written: Any) -> bool:
        """Whether the record in the folder is still this run's; call it within `only_one`."""
        try:
            text = (self.folder / MARKER).read_text(encoding="utf-8")
            return bool(json.loads(text) == written)
        except (OSError, ValueError):
            return False

    def _provenance(self, staged: StagedFolder, case: Mapping[Hashable, Any]) -> dict[str, Any]:
        written = {name: staged.path(name) for name in self.names}
        written = {name: path for name, path in written.items() if path.is_file()}
        details = self._details(case)
        provenance = collect_provenance(self.record, case, outputs=written, details=details)
        if not self.deidentify:
            return provenance
        bare = without_identity(provenance)
        return {**bare, "warnings": warnings(bare)}

    def _checked(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        of_sources = (*self.moving_keys.values(), *self.weight_keys.values())
        keys = (*of_sources, self.fused_key, self.rgb_key, RECOVERED)
        check_on_grid(data, keys, fixed_key=self.fixed_key)
        if not bool(torch.as_tensor(data[self.fused_key]).isfinite().all()):
            raise ValueError(f"{self.fused_key!r} has NaN or infinite voxels")
        return dict(data)

    def _maps(self, case: Mapping[Hashable, Any]) -> Maps:
        return Maps(
            fixed=case[self.fixed_key],
            fused=case[self.fused_key],
            moved=self._moved(case),
            rgb=case.get(self.rgb_key),
            spread={key: case[key] for key in SPREAD if key in case},
            recovered=case.get(RECOVERED),
        )

    def _moved(self, case: Mapping[Hashable, Any]) -> tuple[Moved, ...]:
        return tuple(
            Moved(
                source=source,
                volume=case[self.moving_keys[source.name]],
                weight=case.get(self.weight_keys[source.name]),
                stability=case.get(source.stability_key),
            )
            for source in self.sources
        )

    def _details(self, case: Mapping[Hashable, Any]) -> dict[str, Any]:
        fused = as_array(case[self.fused_key])
        bound = case.get(self.bound_key)
        # The chain has clipped the luminance by now; what it cut off, the bound check has seen.
        clipped = (bound or {}).get("beyond_scale")
        if clipped is None:
            clipped = int(((fused < 0) | (fused > 1)).sum())
        return {
            "bound": bound,
            "fused": {
                "smallest": float(fused.min()),
                "largest": float(fused.max()),
                "clipped_voxels": clipped,
            },
        }

    def _write_transforms(self, staged: StagedFolder, case: Mapping[Hashable, Any]) -> None:
        for one in self._moved(case):
            text = one.volume.meta.get(_TRANSFORM_TEXT)
            if text:
                with atomic_path(staged.path(one.source.file("transform.tfm"))) as temporary:
                    temporary.write_text(text, encoding="ascii")

    def _panels(self, case: Mapping[Hashable, Any]) -> list[Panel]:
        rgb = case.get(self.rgb_key)
        return panels_of(
            case,
            fixed=case[self.fixed_key],
            moved=self._moved(case),
            fused=case[self.fused_key] if rgb is None else rgb,
        )


SaveFusionOutputsD = SaveFusionOutputsDict = SaveFusionOutputsd
