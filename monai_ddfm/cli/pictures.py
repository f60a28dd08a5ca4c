"""Commands about pictures: ``fuse-2d``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from monai_ddfm.cli.options import NOTICE, parse_path, with_options

__all__ = ["fuse_2d"]


@with_options("fuse-2d")
def fuse_2d(
    fixed: Annotated[
        Path,
        typer.Argument(
            parser=parse_path,
            metavar="A",
            help="The MRI or the visible image (PNG, JPEG or TIFF), or a folder of such.",
        ),
    ],
    moving: Annotated[
        Path,
        typer.Argument(
            parser=parse_path,
            metavar="B",
            help="The other picture of the same place and size, or a folder with the same names.",
        ),
    ],
    modality: Annotated[str, typer.Option(help="What B is: CT, PET, SPECT or IR.")],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            parser=parse_path,
            metavar="PATH",
            help="The picture to write; a folder for two folders.",
        ),
    ],
    **options: Any,
) -> None:
    """Fuse two pictures, or two folders of pictures; colors are kept.

    **Example**: `monai-ddfm fuse-2d visible.png infrared.png --modality IR --output fused.png`
    """
    from monai_ddfm.workflow.pictures import fuse_pictures  # noqa: PLC0415 - keeps --help fast

    results = fuse_pictures(fixed, moving, modality=modality, output=output, **options)
    for result in results:
        typer.echo(f"fused picture  {result.picture}")
    typer.echo(f"records        .json beside {'it' if len(results) == 1 else 'them'}; {NOTICE}")
