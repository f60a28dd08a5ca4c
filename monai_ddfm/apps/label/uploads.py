"""Sessions: the volumes that clients upload for a fusion.

The endpoints are MONAI Label's, but what is uploaded is looked at first, and answers tell nothing
about the server.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, File, HTTPException, UploadFile
from fastapi.background import BackgroundTasks
from fastapi.concurrency import run_in_threadpool
from monailabel.config import settings
from monailabel.endpoints import session
from monailabel.endpoints.user.auth import RBAC
from monailabel.interfaces.utils.app import app_instance

from monai_ddfm.data.readers.uploads import check_upload
from monai_ddfm.errors import InputError

__all__ = ["make_session_router"]

_MOST_FILES = 5000
_MOST_SESSIONS = 200
_TOLD = ("name", "meta", "create_ts", "last_access_ts", "expiry")

logger = logging.getLogger(__name__)


def make_session_router() -> APIRouter:
    """Return the endpoints, with MONAI Label's authentication."""
    router = APIRouter(prefix="/session", tags=["Session"])
    user = [Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER))]
    add = router.add_api_route
    add("/", create, methods=["PUT"], dependencies=user, summary="Upload volumes")
    add("/{session_id}", look, methods=["GET"], dependencies=user, summary="Look at an upload")
    add("/{session_id}", remove, methods=["DELETE"], dependencies=user, summary="Remove an upload")
    return router


async def create(
    background: BackgroundTasks,
    files: Annotated[list[UploadFile], File()],
    expiry: int = 0,
) -> dict[str, Any]:
    """Keep a volume, or the files of a series.

    Args:
        background: removes what is left in between.
        files: one volume, or DICOM files.
        expiry: seconds after which it is removed, at most those of the server.
    """
    names = [file.filename or "" for file in files]
    if len(names) > _MOST_FILES or len(set(names)) < len(names):
        raise HTTPException(422, "there are too many files, or two of one name.")
    for name in names:
        # Folders before the name are left out, whatever they are.
        if Path(name).name in ("", "..", "meta.info") or not name.isprintable():
            raise HTTPException(422, f"{name[:60]!r} is no name for an upload.")
    kept: dict[str, Any] = await run_in_threadpool(_keep, background, files, expiry)
    return kept


def _keep(background: BackgroundTasks, files: list[UploadFile], expiry: int) -> dict[str, Any]:
    sessions = app_instance().sessions()
    if sessions is not None:
        sessions.remove_expired()
        if sum(1 for _ in Path(sessions.store_path).glob("*-*")) >= _MOST_SESSIONS:
            raise HTTPException(429, "too many volumes are kept; remove some or try again later.")
    made: dict[str, Any] = session.create_session(background, False, max(0, expiry), files)
    name = made["session_id"]
    try:
        check_upload(Path(sessions.get_session(name).image))
    except InputError as error:
        sessions.remove_session(name)
        logger.info("an upload was refused: %s", error)
        raise HTTPException(422, str(error)) from error
    return {"session_id": name, "session_info": _told(made["session_info"])}


async def look(session_id: str, update_ts: bool = False, image: bool = False) -> Any:
    """Return what was uploaded, or what is known of it.

    Args:
        session_id: of the upload.
        update_ts: start its time anew.
        image: return the file.
    """
    found = await run_in_threadpool(session.get_session, session_id, update_ts, image)
    return _told(found) if isinstance(found, dict) else found


async def remove(session_id: str) -> dict[str, Any]:
    """Remove an upload.

    Args:
        session_id: of the upload.
    """
    return _told(await run_in_threadpool(session.remove_session, session_id))


def _told(info: dict[str, Any]) -> dict[str, Any]:
    """Return what a client may know: the name of its file, and no folder."""
    return {name: info.get(name) for name in _TOLD} | {"image": Path(info["image"]).name}
