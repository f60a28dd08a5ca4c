"""The app as MONAI Label loads it: a store of volumes and the model ``ddfm``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastapi import HTTPException
from monailabel.config import settings
from monailabel.datastore.local import LocalDatastore
from monailabel.interfaces.app import MONAILabelApp

from monai_ddfm.apps.label.archive import ArchiveStudies, connect
from monai_ddfm.apps.label.process import FusionProcess
from monai_ddfm.apps.label.queue import FusionQueue
from monai_ddfm.apps.label.settings import ServerSettings
from monai_ddfm.apps.label.studies import FolderStudies, Studies
from monai_ddfm.apps.label.task import FusionTask
from monai_ddfm.data.readers.uploads import check_upload
from monai_ddfm.errors import InputError
from monai_ddfm.utils.files import NOTICE
from monai_ddfm.version import __version__

__all__ = ["DDFMApp", "VolumeFolder"]


class VolumeFolder(LocalDatastore):  # type: ignore[misc]
    """MONAI Label's store of a folder, which takes volumes only.

    Without this an upload could take the place of the store's own list of what it holds, or of a
    volume of the operator's.
    """

    writable = False
    """Whether an upload may take the place of a volume."""

    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:
        """Add an uploaded volume."""
        self._check(image_filename)
        ending = "".join(Path(image_filename).suffixes)
        there = Path(self._datastore.image_path()) / f"{image_id}{ending}"
        if not self.writable and (image_id in self.list_images() or there.exists()):
            raise HTTPException(409, f"{image_id!r} is in the store already; choose another name.")
        try:
            check_upload(Path(image_filename))
        except InputError as error:
            raise HTTPException(422, str(error)) from error
        return str(super().add_image(image_id, image_filename, image_info))

    def save_label(
        self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]
    ) -> str:
        """Add an uploaded label."""
        self._check(label_filename)
        return str(super().save_label(image_id, label_filename, label_tag, label_info))

    def _check(self, filename: str) -> None:
        endings = [str(pattern).lstrip("*") for pattern in self._extensions]
        if not filename.endswith(tuple(endings)):
            known = ", ".join(endings)
            raise HTTPException(422, f"only volumes can be uploaded: {known}.")


class DDFMApp(MONAILabelApp):  # type: ignore[misc]
    """Fusion of volumes that a viewer has open.

    Args:
        app_dir: the folder of this module.
        studies: a folder of volumes, or the address of a DICOMweb archive.
        conf: ``settings``, the operator's `ServerSettings`.
    """

    def __init__(self, app_dir: str, studies: str, conf: Mapping[str, Any]) -> None:
        self._settings = conf.get("settings") or ServerSettings()
        super().__init__(
            app_dir=app_dir,
            studies=studies,
            conf=dict(conf),
            name="monai_ddfm",
            description=f"Fuse an MRI with a CT, PET or SPECT; {NOTICE}",
            version=__version__,
        )
        self.task.sessions = self.sessions()

    @property
    def task(self) -> FusionTask:
        """Return the one model."""
        task: FusionTask = self._infers["ddfm"]
        return task

    def init_datastore(self) -> Any:
        """Open the store."""
        if str(self.studies).startswith(("http://", "https://")):
            return super().init_datastore()
        store = VolumeFolder(
            self.studies,
            extensions=settings.MONAI_LABEL_DATASTORE_FILE_EXT,
            auto_reload=settings.MONAI_LABEL_DATASTORE_AUTO_RELOAD,
            read_only=settings.MONAI_LABEL_DATASTORE_READ_ONLY,
        )
        store.writable = self._settings.writable
        return store

    def init_infers(self) -> dict[str, FusionTask]:
        """Make the model; its process starts with the first request."""
        chosen = self._settings
        process = FusionProcess(prior=chosen.prior, device=chosen.device, limits=chosen.limits)
        queue = FusionQueue(chosen.queue_length)
        task = FusionTask(studies=self._studies(), sessions=None, process=process, queue=queue)
        return {"ddfm": task}

    def infer(self, request: Mapping[str, Any], datastore: Any = None) -> dict[str, Any]:
        """Fuse, for callers inside MONAI Label; an ``image`` is never taken for a path.

        Args:
            request: as `FusionTask.prepare` takes it.
            datastore: must be None: requests are about the server's own store.
        """
        if datastore is not None:
            raise HTTPException(422, "requests are about the store of the server only.")
        file, about = self.task(request)
        return {"label": file, "tag": "original", "file": file, "params": about}

    def _download_dcmqi_tools(self) -> None:
        """Download nothing; DICOM segmentations, which need these tools, are not offered."""

    def _studies(self) -> Studies:
        if isinstance(self._datastore, VolumeFolder):
            return FolderStudies(self._datastore, Path(self.studies), self._settings.rules)
        client = connect(
            self.studies,
            user=settings.MONAI_LABEL_DICOMWEB_USERNAME,
            password=settings.MONAI_LABEL_DICOMWEB_PASSWORD,
            prefixes={
                "qido_url_prefix": settings.MONAI_LABEL_QIDO_PREFIX,
                "wado_url_prefix": settings.MONAI_LABEL_WADO_PREFIX,
                "stow_url_prefix": settings.MONAI_LABEL_STOW_PREFIX,
            },
        )
        return ArchiveStudies(client, self.studies)
