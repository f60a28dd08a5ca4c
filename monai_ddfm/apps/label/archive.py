"""The series of a DICOMweb archive: found with QIDO-RS, fetched with WADO-RS, stored with STOW-RS.

The archive is asked anew for every request, so that a series is there as soon as it has arrived.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from dicomweb_client import DICOMwebClient
from requests.adapters import HTTPAdapter

from monai_ddfm.apps.label.pairing import Candidate, choose_series, modalities_of_study
from monai_ddfm.apps.label.studies import Volume
from monai_ddfm.data.writers.dicom.context import made_here
from monai_ddfm.data.writers.dicom.push import store_on_web
from monai_ddfm.errors import InputError
from monai_ddfm.modalities import Modality

__all__ = ["ArchiveStudies", "connect"]

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_FIELDS = ("Modality", "SeriesDescription", "NumberOfSeriesRelatedInstances")

logger = logging.getLogger(__name__)


class _Patience(HTTPAdapter):  # type: ignore[misc]
    """Waits no longer than told for an archive that has fallen silent."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def send(self, request: Any, **options: Any) -> Any:
        if options.get("timeout") is None:
            options["timeout"] = self.seconds
        return super().send(request, **options)


def connect(
    url: str,
    *,
    user: str = "",
    password: str = "",
    seconds: float = 60.0,
    prefixes: Mapping[str, str | None] | None = None,
) -> Any:
    """Return a client for an archive.

    Args:
        url: the address that its ``/studies`` lies under.
        user: for basic authentication; "" for none.
        password: likewise.
        seconds: to wait for an answer.
        prefixes: parts of the address between `url` and ``/studies``, where an archive has them:
            ``qido_url_prefix``, ``wado_url_prefix``, ``stow_url_prefix``.
    """
    session = requests.Session()
    if user:
        session.auth = (user, password)
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Patience(seconds))
    client = DICOMwebClient(url=url, session=session, **(prefixes or {}))
    client.set_http_retry_params(retry=False)
    return client


@dataclass(frozen=True)
class _Series:
    study: str
    about: Candidate


class ArchiveStudies:
    """The series of an archive, by their SeriesInstanceUID.

    Args:
        client: of dicomweb-client.
        name: of the archive, for messages.
    """

    is_archive = True

    def __init__(self, client: Any, name: str) -> None:
        self._client, self._name = client, name

    def find(self, image: str) -> Volume:
        """Look a series up; see `monai_ddfm.apps.label.studies.Studies.find`."""
        series = self._series(image)
        if made_here(series.about.description):
            raise InputError(f"{series.about} is the result of a fusion; name what it was made of.")
        return self._volume(series)

    def find_partners(
        self, image: str, modalities: Sequence[Modality | None], *, every: bool = False
    ) -> tuple[Volume, ...]:
        """Find the series of the MRI's study; see `monai_ddfm.apps.label.studies.Studies`."""
        fixed = self._series(image)
        siblings = [one.about for one in self._search(study=fixed.study)]
        wanted: Sequence[Modality | None] = modalities
        if every:
            wanted = modalities_of_study(image, siblings)
        chosen = [choose_series(image, siblings, modality=kind) for kind in wanted or [None]]
        return tuple(self._volume(_Series(fixed.study, one)) for one in chosen)

    def keep(self, files: Sequence[Path]) -> int:
        """Store DICOM files in the archive; returns how many."""
        with self._asked():
            return store_on_web(self._client, files, name=self._name)

    def _series(self, uid: str) -> _Series:
        if len(uid) > 64 or not _UID.fullmatch(uid):
            raise InputError(f"{uid!r} is no SeriesInstanceUID; name the series of an MRI.")
        found = [one for one in self._search(uid=uid) if one.about.id == uid]
        if not found:
            raise InputError(f"the archive has no series {uid}; send it there first.")
        return found[0]

    def _search(self, *, study: str | None = None, uid: str | None = None) -> list[_Series]:
        filters = {} if uid is None else {"SeriesInstanceUID": uid}
        with self._asked():
            answers = self._client.search_for_series(
                study_instance_uid=study, search_filters=filters, fields=_FIELDS
            )
        return [_read(answer, study) for answer in answers]

    def _volume(self, series: _Series) -> Volume:
        def fetch(folder: Path) -> Path:
            with self._asked():
                images = self._client.retrieve_series(series.study, series.about.id)
            if not images:
                raise InputError(f"the archive holds no images of the series {series.about.id}.")
            for number, image in enumerate(images):
                image.save_as(folder / f"{number:05d}.dcm", enforce_file_format=True)
            logger.info("fetched %d images of %s", len(images), series.about)
            return folder

        return Volume(series.about.id, series.about.modality, fetch)

    @contextmanager
    def _asked(self) -> Iterator[None]:
        try:
            yield
        except requests.RequestException as error:
            told = " ".join(str(error).split())[:160]
            raise InputError(
                f"the archive {self._name} does not answer as it should ({told}); try again later."
            ) from error


def _read(answer: Mapping[str, Any], study: str | None) -> _Series:
    """Read a series from the DICOM JSON model."""

    def value(tag: str) -> str:
        values = answer.get(tag, {}).get("Value") or [""]
        return str(values[0])

    try:
        modality = Modality.parse(value("00080060"))
    except InputError:
        modality = None
    images = value("00201209")
    about = Candidate(
        id=value("0020000E"),
        modality=modality,
        description=value("0008103E"),
        images=int(images) if images.isdigit() else None,
    )
    return _Series(study or value("0020000D"), about)
