"""The model ``ddfm`` of MONAI Label: from a request to a fused volume."""

from __future__ import annotations

import itertools
import logging
import re
import tempfile
import threading
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import SimpleITK as sitk
from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType

from monai_ddfm.apps.label.process import Cancelled, FusionProcess
from monai_ddfm.apps.label.queue import FusionQueue, Turn
from monai_ddfm.apps.label.request import FusionRequest, offered_options, read_request
from monai_ddfm.apps.label.scratch import Scratch
from monai_ddfm.apps.label.studies import Studies, Volume
from monai_ddfm.data.readers.uploads import check_alone
from monai_ddfm.errors import InputError
from monai_ddfm.modalities import Modality
from monai_ddfm.sources import Source
from monai_ddfm.utils.files import NOTICE
from monai_ddfm.version import __version__
from monai_ddfm.workflow import FusionResult

__all__ = ["Fusion", "FusionTask", "Job"]

_SESSION = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_FILES = {"luminance": "fused.nii.gz", "color": "fused_rgb.nii.gz"}
_FUSION_ROLES = ("fused", "fused_rgb")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """A request that has been understood.

    Attributes:
        number: of the request, for the log.
        fixed: the MRI.
        moving: the other volumes.
        sources: what each of these is and is called.
        asked: of the client.
    """

    number: int
    fixed: Volume
    moving: tuple[Volume, ...]
    sources: tuple[Source, ...]
    asked: FusionRequest


@dataclass(frozen=True)
class Fusion:
    """What a request gives.

    Attributes:
        folder: holds everything; whoever has this object removes it.
        file: the volume for the client.
        about: what was done, for JSON.
        scratch: removes the folder; it is not taken for left behind as long as this lives.
    """

    folder: Path
    file: Path
    about: Mapping[str, Any]
    scratch: Scratch


class FusionTask(InferTask):  # type: ignore[misc]
    """Fuses a volume of the store with the one that belongs to it, or with several.

    Args:
        studies: the store.
        sessions: MONAI Label's sessions, which hold uploaded files; None if they are switched off.
        process: does the work.
        queue: the turns of the requests.
    """

    def __init__(
        self, *, studies: Studies, sessions: Any, process: FusionProcess, queue: FusionQueue
    ) -> None:
        super().__init__(
            type=InferType.OTHERS,
            labels=[],
            dimension=3,
            description=f"Fusion of an MRI with a CT, PET or SPECT (DDFM); {NOTICE}",
            config=offered_options(archive=studies.is_archive),
        )
        self.studies, self.sessions, self.process, self.queue = studies, sessions, process, queue
        self.place = Path(tempfile.gettempdir())
        self._numbers = itertools.count(1)

    def info(self) -> dict[str, Any]:
        """Return what ``/info`` tells clients."""
        return {**super().info(), "version": __version__}

    def is_valid(self) -> bool:
        """Return whether the model is offered."""
        return True

    def __call__(self, request: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """Fuse and wait, as MONAI Label calls its models; see `prepare` for the request.

        Returns:
            The file, which is the caller's to remove, and what was done.
        """
        fusion = self.enter(self.prepare(request)).result.result()
        return str(fusion.file), dict(fusion.about)

    def prepare(self, request: Mapping[str, Any]) -> Job:
        """Understand a request and find its volumes; nothing is computed.

        Args:
            request: ``image``, the identifier of the MRI, or ``session_id``, a session that holds
                it; and ``params``, see `monai_ddfm.apps.label.request`.

        Raises:
            InputError: it cannot be fulfilled; the message is for the client.
        """
        asked = read_request(request.get("params") or {})
        image, session = request.get("image") or "", request.get("session_id") or ""
        fixed = self._session(session) if session else self._find(image)
        if fixed.modality not in (None, Modality.MR):
            raise InputError(f"{fixed.id} is a {fixed.modality}; ask with the MRI it belongs to.")
        moving = self._moving(fixed, asked, in_store=not session)
        if fixed.id in [one.id for one in moving]:
            raise InputError(f"{fixed.id} is given twice; name the CT, PET or SPECT with image2.")
        asked_for = asked.modalities or [None] * len(moving)
        kinds = [_modality(one, kind) for one, kind in zip(moving, asked_for, strict=True)]
        sources = asked.sources([one.id for one in moving], kinds)
        if asked.result == "color" and not any(kind.has_color for kind in kinds):
            what = " and a ".join(kinds)
            raise InputError(f"a fusion with a {what} has no colors; ask for the luminance.")
        return Job(next(self._numbers), fixed, moving, sources, asked)

    def enter(self, job: Job) -> Turn:
        """Put a request in the queue; its turn gives a `Fusion`."""
        turn = self.queue.enter(partial(self._run, job))
        logger.info(
            "fusion %d: %s with %s, %d before it",
            job.number, job.fixed.id, _told(job), turn.ahead,
        )  # fmt: skip
        return turn

    def close(self) -> None:
        """Give up what is in work or waits, and end the process."""
        self.queue.close()
        self.process.close()

    def _find(self, image: str) -> Volume:
        if not image:
            raise InputError("no volume is named; give the MRI's identifier as image.")
        return self.studies.find(image)

    def _session(self, name: str) -> Volume:
        info = None
        if self.sessions is not None and _SESSION.fullmatch(name):
            info = self.sessions.get_session(name)
        if info is None:
            raise InputError(f"there is no session {name!r}; upload the file again.")
        return Volume(f"session {name}", None, lambda _: Path(info.image))

    def _moving(self, fixed: Volume, asked: FusionRequest, *, in_store: bool) -> tuple[Volume, ...]:
        if asked.session2:
            return tuple(map(self._session, asked.session2))
        if asked.image2:
            return tuple(map(self.studies.find, asked.image2))
        if not in_store:
            raise InputError("an uploaded MRI has no partner; name one with image2 or session2.")
        return self.studies.find_partners(fixed.id, asked.modalities, every=asked.every)

    def _run(self, job: Job, cancelled: threading.Event) -> Fusion:
        scratch = Scratch("ddfm-label-", self.place)
        try:
            fusion = self._fuse(job, scratch, cancelled)
        except BaseException as error:
            scratch.remove()
            kind = "given up" if isinstance(error, Cancelled) else f"failed ({error})"
            logger.info("fusion %d: %s", job.number, kind)
            raise
        logger.info("fusion %d: done in %.1f s", job.number, fusion.about["seconds"]["total"])
        return fusion

    def _fuse(self, job: Job, scratch: Scratch, cancelled: threading.Event) -> Fusion:
        folder = scratch.path / str(job.number)
        roles = ["fixed", *(source.key for source in job.sources)]
        volumes = zip(roles, (job.fixed, *job.moving), strict=True)
        fixed, *moving = [_fetched(volume, folder / role) for role, volume in volumes]
        kinds = [str(source.modality) for source in job.sources]
        is_one = len(moving) == 1
        keep = self.studies.is_archive and job.asked.store != "nothing"
        options = {
            **job.asked.options,
            "fixed": fixed,
            "moving": moving[0] if is_one else moving,
            "modality": kinds[0] if is_one else kinds,
            "output_dir": folder / "out",
            "format": "both" if keep else "nifti",
        }
        result = self.process.fuse(options, cancelled)
        file = _answer(result, job.asked)
        stored = self._keep(result, job.asked.store) if keep else {}
        return Fusion(scratch.path, file, _about(job, result, stored), scratch)

    def _keep(self, result: FusionResult, what: str) -> dict[str, str]:
        """Store the series in the archive; returns their UIDs by role."""
        series = result.provenance["reports"]["dicom"]
        series = next(iter(series.values()))["series"]
        roles = [role for role in series if what == "everything" or role in _FUSION_ROLES]
        files = [
            path for role in roles for path in (result.output_dir / "dicom" / role).glob("*.dcm")
        ]
        count = self.studies.keep(sorted(files))
        logger.info("stored %d objects: %s", count, ", ".join(roles))
        return {role: series[role]["uid"] for role in roles}


def _modality(moving: Volume, asked: Modality | None) -> Modality:
    known = moving.modality
    if known is Modality.MR:
        raise InputError(f"{moving.id} is an MRI; name the CT, PET or SPECT with image2.")
    if known and asked and known is not asked:
        raise InputError(f"{moving.id} is a {known}, no {asked}; correct the modality.")
    if chosen := known or asked:
        return chosen
    raise InputError(f"what {moving.id} is cannot be told; give the modality: CT, PET or SPECT.")


def _told(job: Job) -> str:
    """Say which moving volumes a fusion has, for the log."""
    pairs = zip(job.moving, job.sources, strict=True)
    return " and ".join(f"{volume.id} ({source.modality})" for volume, source in pairs)


def _fetched(volume: Volume, folder: Path) -> Path:
    folder.mkdir(parents=True)
    path = volume.fetch(folder)
    check_alone(path)
    return path


def _answer(result: FusionResult, asked: FusionRequest) -> Path:
    """Return the file for the client: a volume, or all of them and the transforms in one."""
    if asked.result != "files":
        return _as_wished(result.files[_FILES[asked.result]], asked.extension)
    packed = result.output_dir / "fusion.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:  # volumes are packed already
        # Not the record, the report and the preview, which tell of the server's places.
        for name, path in result.files.items():
            if name.endswith(".nii.gz"):
                volume = _as_wished(path, asked.extension)
                archive.write(volume, volume.name)
            elif name.endswith(".tfm"):
                archive.write(path, name)
    return packed


def _as_wished(file: Path, extension: str) -> Path:
    """Return the volume in the file format that the client wants, its values untouched."""
    if extension == ".nii.gz":
        return file
    wanted = file.with_name(file.name.removesuffix(".nii.gz") + extension)
    try:
        sitk.WriteImage(sitk.ReadImage(str(file)), str(wanted), True)
    except RuntimeError as error:  # axes that are not at right angles
        raise InputError(f"the MRI's grid does not fit {extension}; ask for .nii.gz.") from error
    return wanted


def _about(job: Job, result: FusionResult, stored: Mapping[str, str]) -> dict[str, Any]:
    ids = [one.id for one in job.moving]
    kinds = [str(source.modality) for source in job.sources]
    return {
        "notice": NOTICE,
        "software": f"monai_ddfm {__version__}",
        "fixed": job.fixed.id,
        "moving": ids[0] if len(ids) == 1 else ids,
        "modality": kinds[0] if len(kinds) == 1 else kinds,
        "options": {k: v for k, v in job.asked.options.items() if v is not None},
        "registration": result.provenance["reports"].get("registration"),
        "bound": result.provenance["bound"],
        "seconds": result.provenance["seconds"],
        "stored": dict(stored),
    }
