"""The model ``ddfm`` of MONAI Label: from a request to a fused volume."""

from __future__ import annotations

import itertools
import logging
import re
import tempfile
import threading
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
        moving: the second volume.
        modality: of `moving`.
        asked: of the client.
    """

    number: int
    fixed: Volume
    moving: Volume
    modality: Modality
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
    """Fuses a volume of the store with the one that belongs to it.

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
        if moving.id == fixed.id:
            raise InputError(f"{fixed.id} is given twice; name the CT, PET or SPECT with image2.")
        modality = _modality(moving, asked)
        asked.check_window(modality)
        if asked.result == "color" and not modality.has_color:
            raise InputError(f"a fusion with a {modality} has no colors; ask for the luminance.")
        return Job(next(self._numbers), fixed, moving, modality, asked)

    def enter(self, job: Job) -> Turn:
        """Put a request in the queue; its turn gives a `Fusion`."""
        turn = self.queue.enter(partial(self._run, job))
        logger.info(
            "fusion %d: %s with %s (%s), %d before it",
            job.number, job.fixed.id, job.moving.id, job.modality, turn.ahead,
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

    def _moving(self, fixed: Volume, asked: FusionRequest, *, in_store: bool) -> Volume:
        if asked.session2:
            return self._session(asked.session2)
        if asked.image2:
            return self.studies.find(asked.image2)
        if not in_store:
            raise InputError("an uploaded MRI has no partner; name one with image2 or session2.")
        return self.studies.find_partner(fixed.id, asked.modality)

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
        sources = {}
        for role, volume in (("fixed", job.fixed), ("moving", job.moving)):
            (folder / role).mkdir(parents=True)
            sources[role] = volume.fetch(folder / role)
            check_alone(sources[role])
        keep = self.studies.is_archive and job.asked.store != "nothing"
        options = {
            **job.asked.options,
            **sources,
            "modality": str(job.modality),
            "output_dir": folder / "out",
            "format": "both" if keep else "nifti",
        }
        result = self.process.fuse(options, cancelled)
        file = _as_wished(result.files[_FILES[job.asked.result]], job.asked.extension)
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


def _modality(moving: Volume, asked: FusionRequest) -> Modality:
    known = moving.modality
    if known is Modality.MR:
        raise InputError(f"{moving.id} is an MRI; name the CT, PET or SPECT with image2.")
    if known and asked.modality and known is not asked.modality:
        raise InputError(f"{moving.id} is a {known}, no {asked.modality}; correct the modality.")
    if chosen := known or asked.modality:
        return chosen
    raise InputError(f"what {moving.id} is cannot be told; give the modality: CT, PET or SPECT.")


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
    return {
        "notice": NOTICE,
        "software": f"monai_ddfm {__version__}",
        "fixed": job.fixed.id,
        "moving": job.moving.id,
        "modality": str(job.modality),
        "options": {k: v for k, v in job.asked.options.items() if v is not None},
        "registration": result.provenance["reports"].get("registration"),
        "bound": result.provenance["bound"],
        "seconds": result.provenance["seconds"],
        "stored": dict(stored),
    }
