"""What a run leaves for an archive, as a transform for the end of the chain of a configuration.

========================  =====================================================================
folder below ``dicom/``   series
========================  =====================================================================
``fused``                 luminance of the fusion, MR Image
``fused_rgb``             the fusion in color, Secondary Capture Image (PET, SPECT, tinted bone)
``moving_registered``     `moving` in its own units on the MRI's slices: CT, PET or NM Image
``weight``                share of `moving` in every voxel, Parametric Map
``registration``          Spatial Registration, if `moving` came from DICOM
``presentation``          lossless overlay, Advanced Blending Presentation State
``fixed``                 the MRI, MR Image, where its own images cannot be referred to
========================  =====================================================================

Of several moving volumes each has its registered series, weight and registration, with its name
behind: ``weight_pet``.

Patient, study and frame of reference are those of the MRI. ``dicom/index.json`` lists the series
and is written last: where it stands, all is complete.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from monai.transforms import Transform

from monai_ddfm.data.writers.dicom.context import Context, moment_of, save
from monai_ddfm.data.writers.dicom.extra import need
from monai_ddfm.data.writers.dicom.grid import plan_slices
from monai_ddfm.data.writers.dicom.patient import Patient, describe_patient
from monai_ddfm.data.writers.dicom.push import PushTarget, push_dicom
from monai_ddfm.data.writers.dicom.series import Volumes, all_series, array_of
from monai_ddfm.data.writers.dicom.sources import read_sources
from monai_ddfm.data.writers.dicom.terms import keep_defined_terms
from monai_ddfm.data.writers.dicom.uids import Uids
from monai_ddfm.data.writers.dicom_results import (
    DICOM_FOLDER,
    DICOM_MARK,
    ROLES,
    is_of_runs,
    objects_in,
    role_folders,
    roles_of,
)
from monai_ddfm.data.writers.maps import check_on_grid
from monai_ddfm.data.writers.provenance import RunRecord
from monai_ddfm.errors import InputError
from monai_ddfm.modalities import Modality
from monai_ddfm.sources import Moved, Source, as_sources
from monai_ddfm.utils.arrays import as_array
from monai_ddfm.utils.files import NOTICE, StagedFolder, only_one, prepare_output_dir
from monai_ddfm.utils.json_files import write_json
from monai_ddfm.utils.reports import add_report, reports_of
from monai_ddfm.version import __version__

__all__ = ["INDEX", "SaveFusionDicomD", "SaveFusionDicomDict", "SaveFusionDicomd"]

INDEX = "index.json"
_NUMBERS = range(1, 2**31 - len(ROLES))
_METHODS = ("rigid", "affine", "deformable", "none")
_TOLD = ("preset", "steps", "seed", "registration")

logger = logging.getLogger(__name__)


class SaveFusionDicomd(Transform):  # type: ignore[misc]
    """Write a run as DICOM, all at once or not at all, and send it to an archive if asked to.

    Args:
        output_dir: the folder of the run; the objects go to ``dicom/`` in it.
        modality: of `moving`, see `monai_ddfm.modalities`; or the records of several moving
            volumes, whose volumes and weights are under their own keys, and whose series have
            their names: ``weight_pet``.
        record: options and times of the run.
        fixed_key: MetaTensor [1, H, W, D], the MRI on its own grid in its own units.
        moving_key: MetaTensor [1, H, W, D] on that grid in its own units, or [3, H, W, D] colors
            in 0..255, with the transform in its metadata.
        fused_key: MetaTensor [1, H, W, D] on that grid, luminance in [0, 1]; gets the report
            ``"dicom"``.
        weight_key: [1, H, W, D] on that grid, share of `moving` in [0, 1]; may be absent.
        rgb_key: [3, H, W, D] on that grid, colors in [0, 1]; may be absent.
        output_key: key under which the case gets the summary.
        deidentify: keep nothing that identifies: no text, date, device or private element of the
            sources, and consistent replacements for their UIDs. Faces are not removed.
        deterministic_uids: let UIDs and dates follow from what is written instead of from chance
            and clock, so that the same run gives the same bytes. De-identified UIDs can then be
            traced back by who has the sources.
        patient: ``name``, ``id``, ``birth_date`` and ``sex``, for an MRI that is not DICOM or with
            `deidentify`; unknown otherwise.
        series_number: SeriesNumber of the first series; the others follow.
        push: where to send everything, ``AETITLE@host:port`` or the address of a DICOMweb service.

    Raises:
        InputError: an option is wrong, a package is missing, or the folder cannot be written to.
    """

    def __init__(
        self,
        output_dir: str | Path,
        *,
        modality: str | Modality | Sequence[Source],
        record: RunRecord | None = None,
        fixed_key: str = "fixed",
        moving_key: str = "moving",
        fused_key: str = "fused",
        weight_key: str = "weight",
        rgb_key: str = "fused_rgb",
        output_key: str = "dicom",
        deidentify: bool = False,
        deterministic_uids: bool = False,
        patient: Mapping[str, Any] | None = None,
        series_number: int = 9001,
        push: str | None = None,
    ) -> None:
        need("highdicom", "to write DICOM")
        self.folder = prepare_output_dir(Path(output_dir) / DICOM_FOLDER, names=(INDEX,))
        self.sources = as_sources(modality)
        for source in self.sources:
            if not source.modality.row.dicom:
                raise InputError(
                    f"a {source.modality} cannot be written as DICOM; use --format nifti."
                )
        self.record = record or RunRecord()
        self.fixed_key, self.fused_key = fixed_key, fused_key
        self.rgb_key, self.output_key = rgb_key, output_key
        # By the name of a source; the keys given are those of the only one.
        self.moving_keys = {s.name: s.key if s.name else moving_key for s in self.sources}
        self.weight_keys = {s.name: s.weight_key if s.name else weight_key for s in self.sources}
        self.deidentify, self.deterministic_uids = bool(deidentify), bool(deterministic_uids)
        self.patient = Patient.parse(patient)
        if int(series_number) not in _NUMBERS:
            raise InputError(f"the series number {series_number} cannot be; use 1 or more.")
        self.series_number = int(series_number)
        self.target = PushTarget.parse(push) if push else None

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write the objects of one case.

        Args:
            data: the case at the end of the chain.

        Returns:
            The case with a summary: ``folder``, ``series`` (by role: ``uid``, ``number``,
            ``description``, ``files``), ``pushed`` (how many objects were sent) and ``notice``.

        Raises:
            InputError: a source has changed since it was read, a patient was given although the
                MRI names one, a file cannot be written, or the archive refuses.
            ValueError: a volume is not on the MRI's grid or not finite.
        """
        with StagedFolder(self.folder, marker=INDEX, owned=self.owned()) as staged:
            series, files = self.stage(data, staged.path)
        return {**data, self.output_key: self.finish(data, series, files)}

    def owned(self) -> list[str]:
        """Return the objects of an earlier run, by their names in the folder.

        Raises:
            InputError: there are such files, but no run has written them.
        """
        found = objects_in(self.folder)
        if found and not is_of_runs(self.folder):
            raise InputError(
                f"{self.folder / found[0]} is where results go, but is not of a run; choose "
                "another output folder or move it."
            )
        return found

    def stage(
        self, data: Mapping[Hashable, Any], path: Callable[[str], Path]
    ) -> tuple[dict[str, dict[str, Any]], list[Path]]:
        """Write the objects of one case, and the index, under temporary names.

        Args:
            data: the case.
            path: gives the temporary path of a name in the folder.

        Returns:
            What there is by series, and the names of the objects.

        Raises:
            InputError: as for the call.
            ValueError: likewise.
        """
        volumes = self._volumes(data)
        context = self._context(volumes)
        names: list[Path] = []
        series: dict[str, dict[str, Any]] = {}
        with self.record.stage("writing DICOM"):
            for role, dataset in all_series(context, volumes, data):
                if self.deidentify:
                    keep_defined_terms(dataset)
                count = series.get(role, {"files": 0})["files"] + 1
                names.append(Path(role) / f"{count:04d}.dcm")
                save(dataset, path(str(names[-1])))
                series.setdefault(role, _about(dataset))["files"] = count
            index = {
                "notice": NOTICE,
                "software": list(context.versions),
                "study_uid": str(context.patient.StudyInstanceUID),
                "frame_of_reference_uid": context.frame_of_reference,
                "deidentified": self.deidentify,
                "series": series,
            }
            write_json(path(INDEX), index)
            path(DICOM_MARK).touch()
        add_report(data[self.fused_key], "dicom", {**index, "pushed": 0})
        return series, names

    def finish(
        self, data: Mapping[Hashable, Any], series: dict[str, dict[str, Any]], names: list[Path]
    ) -> dict[str, Any]:
        """Send what has been written to the archive, if there is one; returns the summary.

        Args:
            data: the case.
            series: from `stage`.
            names: likewise.

        Raises:
            InputError: the archive refuses, and the files stay; or another run has replaced them.
        """
        files = [self.folder / name for name in names]
        logger.info("Wrote %d DICOM objects to %s; %s.", len(files), self.folder, NOTICE)
        # Other runs put their results here within the lock of either folder.
        with only_one(self.folder.parent), only_one(self.folder):
            for role in role_folders(self.folder):
                with suppress(OSError):
                    role.rmdir()  # left empty by an earlier run's files
            pushed = self._push(series, files)
        report = reports_of(data[self.fused_key])["dicom"]
        add_report(data[self.fused_key], "dicom", {**report, "pushed": pushed})
        return {"folder": str(self.folder), "series": series, "pushed": pushed, "notice": NOTICE}

    def _push(self, series: Mapping[str, Mapping[str, Any]], files: list[Path]) -> int:
        """Send the files, if they are to be sent and still this run's; returns how many."""
        if self.target is None:
            return 0
        try:
            index = json.loads((self.folder / INDEX).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            index = None
        if index is None or index.get("series") != series:
            raise InputError(
                f"{self.folder} was replaced by another run before it was sent; give each run a "
                "folder of its own."
            )
        return push_dicom(files, self.target)

    def _volumes(self, data: Mapping[Hashable, Any]) -> Volumes:
        fixed = data[self.fixed_key]
        of_sources = (*self.moving_keys.values(), *self.weight_keys.values())
        keys = (*of_sources, self.fused_key, self.rgb_key)
        check_on_grid(data, keys, fixed_key=self.fixed_key)
        for key in keys:
            if data.get(key) is not None and not np.isfinite(array_of(data[key])).all():
                raise ValueError(f"{key!r} has NaN or infinite voxels")
        rgb, moved = data.get(self.rgb_key), []
        for source in self.sources:
            weight = data.get(self.weight_keys[source.name])
            share = None if weight is None else array_of(weight)
            volume = data[self.moving_keys[source.name]]
            moved.append(Moved(source=source, volume=volume, weight=share))
        return Volumes(
            fixed=fixed,
            moved=tuple(moved),
            fused=array_of(data[self.fused_key]),
            rgb=None if rgb is None else array_of(rgb),
        )

    def _context(self, volumes: Volumes) -> Context:
        """Read the sources and settle what all objects share."""
        versions = _versions()
        options = {k: v for k in _TOLD if (v := self.record.options.get(k)) is not None}
        kinds = " ".join(f"{source.modality} {source.name}".strip() for source in self.sources)
        uids = (
            Uids.deterministic(
                [
                    *volumes.arrays(),
                    as_array(volumes.fixed.affine),
                    *(v.meta.get("series_instance_uid") for v in volumes.sources),
                    *(self.patient, kinds, self.series_number, self.deidentify),
                    *(versions, options),
                ],
                replace=self.deidentify,
            )
            if self.deterministic_uids
            else Uids.random(replace=self.deidentify)
        )
        fixed = read_sources(volumes.fixed, uids.source)
        moved = tuple(read_sources(one.volume, uids.source) for one in volumes.moved)
        frame = (fixed.frame_of_reference if fixed else "") or str(uids("frame of reference"))
        exact = self.deterministic_uids or self.deidentify
        return Context(
            grid=plan_slices(as_array(volumes.fixed.affine), tuple(volumes.fixed.shape[1:]), fixed),
            patient=describe_patient(fixed, self.patient, uids, deidentify=self.deidentify),
            frame_of_reference=frame,
            uids=uids,
            moment=moment_of(None if self.deidentify else fixed) if exact else datetime.now(),
            records=self.sources,
            moved=moved,
            first_number=self.series_number,
            derivation=_derivation(options),
            versions=versions,
            fixed=fixed,
            deidentify=self.deidentify,
            roles=roles_of(self.sources),
        )


def _about(dataset: Any) -> dict[str, Any]:
    return {
        "uid": str(dataset.SeriesInstanceUID),
        "number": int(dataset.SeriesNumber),
        "description": str(dataset.SeriesDescription),
        "class": dataset.SOPClassUID.name,
    }


def _versions() -> tuple[str, ...]:
    own = f"monai_ddfm {__version__}"
    return (own, *(f"{name} {metadata.version(name)}" for name in ("monai", "torch", "highdicom")))


def _derivation(options: Mapping[str, Any]) -> str:
    # The registration may be a file, whose name may be anything.
    words = {name: str(value) for name, value in options.items()}
    if words.get("registration", "none") not in _METHODS:
        words["registration"] = "from a file"
    told = ", ".join(f"{name} {value}" for name, value in words.items())
    return f"DDFM fusion with a diffusion prior{f' ({told})' if told else ''}"


SaveFusionDicomD = SaveFusionDicomDict = SaveFusionDicomd
