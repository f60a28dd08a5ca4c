"""The server: MONAI Label's endpoints for viewers, ours for fusions, one process.

Of MONAI Label's endpoints, only those are offered that a viewer needs: information, the store,
sessions, the next sample, tokens, OHIF and its way to the archive. Training, scoring, batches,
whole slides, models and logs are not.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from monai_ddfm.apps.label.barrier import Barrier
from monai_ddfm.apps.label.compatibility import mend_packages, mend_tokens
from monai_ddfm.apps.label.identifiers import IdentifierMiddleware
from monai_ddfm.apps.label.page import api_page
from monai_ddfm.apps.label.privacy import FolderHider
from monai_ddfm.apps.label.scratch import Scratch, sweep
from monai_ddfm.apps.label.settings import ServerSettings
from monai_ddfm.errors import InputError
from monai_ddfm.version import __version__
from monai_ddfm.workflow import check_device

__all__ = ["serve"]

_ENVIRONMENT = {
    "MONAI_LABEL_DATASTORE_FILE_EXT": ["*.nii.gz", "*.nii", "*.nrrd", "*.mha", "*.mgz"],
    "MONAI_LABEL_DICOMWEB_CACHE_EXPIRY": 60,
    "MONAI_LABEL_DICOMWEB_SEARCH_FILTER": {"Modality": "MR"},
    "MONAI_LABEL_TASKS_TRAIN": False,
    "MONAI_LABEL_TASKS_SCORING": False,
    "MONAI_LABEL_TASKS_BATCH_INFER": False,
    "MONAI_LABEL_AUTO_UPDATE_SCORING": False,
    "MONAI_ZOO_SOURCE": "local",
}
SCRATCH_PREFIX = "ddfm-label-"
_SERVER_PREFIX = "ddfm-server-"
_LOOPBACK = ("127.0.0.1", "localhost", "::1")

logger = logging.getLogger(__name__)


def serve(
    studies: str,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    settings: ServerSettings | None = None,
    certificate: Path | None = None,
    key: Path | None = None,
) -> None:
    """Serve until interrupted.

    Args:
        studies: a folder of volumes, or the address of a DICOMweb archive.
        host: address to listen at.
        port: to listen at.
        settings: the operator's.
        certificate: for TLS, PEM.
        key: of the certificate, PEM.

    Raises:
        InputError: MONAI Label is not installed, or something given cannot be used.
    """
    chosen = settings or ServerSettings()
    studies = _checked(studies)
    if chosen.device is not None:
        check_device(chosen.device)
    mend_packages()
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value if isinstance(value, str) else json.dumps(value))
    import uvicorn  # noqa: PLC0415 - only in MONAI Label's environment

    place = Path(tempfile.gettempdir())
    swept = sum(sweep(prefix, place) for prefix in (SCRATCH_PREFIX, _SERVER_PREFIX))
    if swept:
        logger.info("removed %d folders that a killed server had left", swept)
    own = Scratch(_SERVER_PREFIX, place)
    try:
        with _bound(host, port) as listening, _temporary_files_in(own.path):
            app = _build(studies, chosen, host, port, place)
            if host not in _LOOPBACK and not _authenticates():
                logger.warning("everybody who reaches %s:%d may use this server", host, port)
            config = uvicorn.Config(
                app,
                host=host,
                port=port,
                log_level="warning",
                ssl_certfile=None if certificate is None else str(certificate),
                ssl_keyfile=None if key is None else str(key),
            )
            running = uvicorn.Server(config)
            _announce(running, f"ready at port {port} for {studies}", own)
            running.run(sockets=[listening])
    finally:
        own.remove()


def _bound(host: str, port: int) -> socket.socket:
    """Return a socket that listens; binding it first tells at once whether that can be.

    Raises:
        InputError: the address is in use or not of this machine.
    """
    try:
        family, kind, number, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        made = socket.socket(family, kind, number)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            made.bind(address)
            made.set_inheritable(False)
        except OSError:
            made.close()
            raise
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"the server cannot listen at {host}:{port} ({why}); choose another --port or --host."
        ) from error
    return made


def _announce(server: Any, words: str, own: Scratch) -> None:
    """Have a server say that it is ready when it is, and remove its folder when it stops.

    It ends by the signal that stops it, after which nothing of ours runs.
    """
    start, stop = server.startup, server.shutdown

    async def startup(sockets: Any = None) -> None:
        await start(sockets=sockets)
        if server.started:
            logger.info(words)

    async def shutdown(sockets: Any = None) -> None:
        await stop(sockets=sockets)
        own.remove()

    server.startup, server.shutdown = startup, shutdown


@contextmanager
def _temporary_files_in(folder: Path) -> Iterator[None]:
    """Have this process and its children put temporary files into a folder."""
    before, variable = tempfile.tempdir, os.environ.get("TMPDIR")
    tempfile.tempdir = os.environ["TMPDIR"] = str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before
        if variable is None:
            os.environ.pop("TMPDIR", None)
        else:
            os.environ["TMPDIR"] = variable


def _build(studies: str, chosen: ServerSettings, host: str, port: int, place: Path) -> Any:
    """Put the application together."""
    from fastapi import FastAPI  # noqa: PLC0415 - likewise
    from fastapi.middleware.cors import CORSMiddleware  # noqa: PLC0415
    from fastapi.responses import HTMLResponse  # noqa: PLC0415
    from monailabel.config import settings  # noqa: PLC0415
    from monailabel.endpoints import (  # noqa: PLC0415
        activelearning,
        datastore,
        info,
        login,
        ohif,
        proxy,
    )
    from monailabel.interfaces.utils.app import app_instance  # noqa: PLC0415

    from monai_ddfm.apps.label.endpoint import make_router  # noqa: PLC0415
    from monai_ddfm.apps.label.uploads import make_session_router  # noqa: PLC0415

    mend_tokens()
    settings.MONAI_LABEL_APP_DIR = str(Path(__file__).resolve().parent)
    settings.MONAI_LABEL_STUDIES = studies
    settings.MONAI_LABEL_SERVER_PORT = port
    settings.MONAI_LABEL_APP_CONF = {"settings": chosen}

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        logging.getLogger("timeloop").setLevel(logging.WARNING)
        instance = app_instance()
        instance.server_mode(True)
        instance.on_init_complete()
        instance.task.place = place
        instance.task.process.start()
        yield
        instance.task.close()

    app = FastAPI(
        title="monai_ddfm",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,  # these pages load scripts from elsewhere; there is one of our own
        redoc_url=None,
    )
    app.add_middleware(IdentifierMiddleware)
    sessions = settings.MONAI_LABEL_SESSION_PATH or str(Path.home() / ".cache" / "monailabel")
    folders = [*([] if "://" in studies else [studies]), sessions, tempfile.gettempdir()]
    app.add_middleware(FolderHider, folders=[*folders, settings.MONAI_LABEL_APP_DIR])
    app.add_middleware(
        CORSMiddleware,
        allow_origins=[str(origin).rstrip("/") for origin in settings.MONAI_LABEL_CORS_ORIGINS],
        allow_credentials=True,
        allow_methods=["*"],
        allow_headers=["*"],
    )
    app.add_middleware(  # the last added is the first that a request meets
        Barrier,
        hosts=(host, *chosen.hosts),
        writable=chosen.writable,
        most_bytes=chosen.most_bytes,
    )
    parts = [info, activelearning, datastore, ohif, proxy]
    for part in [login, *parts] if settings.MONAI_LABEL_AUTH_ENABLE else parts:
        app.include_router(part.router)
    app.include_router(make_session_router())
    app.include_router(make_router())
    app.add_api_route("/", lambda: HTMLResponse(api_page(app.openapi())), include_in_schema=False)
    return app


def _authenticates() -> bool:
    from monailabel.config import settings  # noqa: PLC0415

    return bool(settings.MONAI_LABEL_AUTH_ENABLE)


def _checked(studies: str) -> str:
    if studies.lower().startswith(("http://", "https://")):
        return studies.rstrip("/")
    folder = Path(studies)
    if not folder.is_dir():
        raise InputError(f"{studies} is no folder; give a folder or a DICOMweb address.")
    if not os.access(folder, os.W_OK):
        raise InputError(f"{studies} cannot be written to, but the server keeps its list there.")
    return str(folder.resolve())
