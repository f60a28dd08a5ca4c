"""Requests for fusions: ``POST /infer/ddfm``, as MONAI Label's clients send them.

It takes the place of MONAI Label's own endpoint, which computes in the event loop, so that the
server answers nobody else meanwhile, and which takes paths for images. Here a request waits for its
turn, and is given up when the client hangs up.
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Annotated, Any

from fastapi import APIRouter, Depends, File, Form, HTTPException, Request, UploadFile
from fastapi.background import BackgroundTasks
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response
from monailabel.config import settings
from monailabel.endpoints.infer import ResultType, send_response
from monailabel.endpoints.user.auth import RBAC
from monailabel.interfaces.utils.app import app_instance

from monai_ddfm.apps.label.process import Cancelled
from monai_ddfm.apps.label.queue import QueueFullError, Turn
from monai_ddfm.apps.label.task import Fusion
from monai_ddfm.errors import InputError

__all__ = ["fuse", "make_router"]

_LOOK_S = 0.25
_CLIENT_GONE = 499  # nobody reads it; the customary number in logs

logger = logging.getLogger(__name__)


def make_router() -> APIRouter:
    """Return the endpoint, with MONAI Label's authentication."""
    router = APIRouter(prefix="/infer", tags=["Infer"])
    user = Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER))
    router.add_api_route(
        "/{model}", fuse, methods=["POST"], dependencies=[user], summary="Fuse two volumes"
    )
    return router


async def fuse(
    request: Request,
    background: BackgroundTasks,
    model: str,
    image: str = "",
    session_id: str = "",
    params: Annotated[str, Form()] = "{}",
    file: Annotated[UploadFile | None, File()] = None,
    label: Annotated[UploadFile | None, File()] = None,
    output: ResultType | None = None,
) -> Any:
    """Fuse a volume of the store, or of a session, with the one that belongs to it.

    Args:
        request: to see whether the client is still there.
        background: removes the files when they have been sent.
        model: must be ``ddfm``.
        image: identifier of the MRI.
        session_id: session that holds the MRI instead.
        params: JSON object of options.
        file: refused: files are uploaded to a session or to the store.
        label: refused likewise.
        output: ``image``, ``json``, or both parts, which is the default.
    """
    if model != "ddfm":
        raise HTTPException(404, "there is no such model; the model is 'ddfm'.")
    if file is not None or label is not None:
        raise HTTPException(422, "a request holds no file; upload it to /session/ first.")
    if output == ResultType.dicom_seg:
        raise HTTPException(422, "a fusion is no segmentation; ask for image, json or all.")
    task = app_instance().task
    asked = {"image": image, "session_id": session_id, "params": _decoded(params)}
    try:
        turn = task.enter(await run_in_threadpool(task.prepare, asked))
        fusion = await _wait(request, turn)
    except InputError as error:
        raise HTTPException(422, str(error)) from error
    except Cancelled as error:
        raise HTTPException(503, "the server is stopping.") from error
    except QueueFullError as error:
        told = "too many fusions are waiting; try again later."
        raise HTTPException(503, told, headers={"Retry-After": "60"}) from error
    except Exception as error:
        logger.exception("a fusion failed")
        raise HTTPException(500, "the fusion failed; the server's log says why.") from error
    if fusion is None:
        return Response(status_code=_CLIENT_GONE)
    background.add_task(fusion.scratch.remove)
    result = {"file": str(fusion.file), "params": dict(fusion.about)}
    return send_response(None, result, output or ResultType.all, background)


def _decoded(params: str) -> Any:
    try:
        return json.loads(params or "{}")
    except (ValueError, RecursionError) as error:
        raise HTTPException(422, "the parameters are no JSON.") from error


async def _wait(request: Request, turn: Turn) -> Fusion | None:
    """Wait for the fusion; None if the client has gone first."""
    result = asyncio.wrap_future(turn.result)
    while True:
        done, _ = await asyncio.wait({result}, timeout=_LOOK_S)
        if done:
            fusion: Fusion = result.result()
            return fusion
        if await request.is_disconnected():
            result.add_done_callback(_forget)
            turn.give_up()
            return None


def _forget(result: asyncio.Future[Any]) -> None:
    """Take note of how a fusion ended that nobody waits for, which asyncio asks for."""
    if not result.cancelled():
        result.exception()
