"""The command ``label``: a MONAI Label server for viewers."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from monai_ddfm.cli.options import parse_path, with_options
from monai_ddfm.errors import InputError

__all__ = ["label"]


@with_options()
def label(
    studies: Annotated[
        str, typer.Option(help="A folder of volumes, or the address of a DICOMweb archive.")
    ],
    port: Annotated[int, typer.Option(help="To listen at.")] = 8000,
    host: Annotated[
        str, typer.Option(help="Address to listen at; 0.0.0.0 for the whole network.")
    ] = "127.0.0.1",
    device: str | None = None,
    prior: Path | None = None,
    pairs: Annotated[
        Path | None,
        typer.Option(parser=parse_path, metavar="PATH", help="JSON: second volume by MRI."),
    ] = None,
    pattern: Annotated[
        str | None,
        typer.Option(help="Regular expression of names, with groups subject and modality."),
    ] = None,
    time_limit: Annotated[float, typer.Option(help="Seconds that a fusion may take.")] = 1800.0,
    memory_limit: Annotated[
        float | None,
        typer.Option(help="GiB that the fusing process may hold; four fifths of all if not given."),
    ] = None,
    queue: Annotated[int, typer.Option(help="Fusions that may be in work or wait.")] = 16,
    writable: Annotated[
        bool,
        typer.Option("--writable", help="Let clients change and remove what is in the store."),
    ] = False,
    upload_limit: Annotated[float, typer.Option(help="GiB that one request may have.")] = 2.0,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(help="Name under which clients reach the server; may be repeated."),
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option(parser=parse_path, metavar="PATH", help="For TLS, PEM.")
    ] = None,
    key: Annotated[
        Path | None, typer.Option(parser=parse_path, metavar="PATH", help="Of the certificate.")
    ] = None,
) -> None:
    """Serve fusions to viewers with MONAI Label, which needs an environment of its own.

    **Example**: `monai-ddfm label --studies volumes --port 8000`
    """
    limits = [time_limit, queue, upload_limit, *([] if memory_limit is None else [memory_limit])]
    if any(limit <= 0 for limit in limits):
        raise InputError("limits must be positive; give more than 0.")
    if (certificate is None) != (key is None):
        raise InputError("TLS needs both --certificate and --key.")
    from monai_ddfm.apps.label.pairing import PairingRules  # noqa: PLC0415 - keeps --help fast
    from monai_ddfm.apps.label.process import LOG_FORMAT  # noqa: PLC0415
    from monai_ddfm.apps.label.server import serve  # noqa: PLC0415
    from monai_ddfm.apps.label.settings import ServerSettings  # noqa: PLC0415

    logging.basicConfig(format=LOG_FORMAT, force=True)  # a server's lines need their time
    logging.getLogger("monai_ddfm").setLevel(logging.INFO)
    settings = ServerSettings(
        prior=prior,
        device=device,
        rules=PairingRules.read(pairs=pairs, pattern=pattern),
        time_limit=time_limit,
        memory_limit=memory_limit,
        queue_length=queue,
        hosts=tuple(allowed_host or ()),
        writable=writable,
        upload_limit=upload_limit,
    )
    serve(studies, host=host, port=port, settings=settings, certificate=certificate, key=key)
