"""Commands about priors: ``prior fetch``, ``convert``, ``average`` and ``info``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monai_ddfm.errors import InputError
from monai_ddfm.utils.places import check_apart

if TYPE_CHECKING:
    import torch

__all__ = ["prior_app"]

prior_app = typer.Typer(help="Fetch, convert, average and describe priors.", no_args_is_help=True)


_TOLD_EVERY = 100_000_000


@prior_app.command("fetch")
def prior_fetch(
    folder: Annotated[
        Path, typer.Argument(help="Folder for 256x256_diffusion_uncond.pt.")
    ] = Path(),
) -> None:
    """Fetch the ImageNet checkpoint of the published work from its authors (2.2 GB)."""
    from monai_ddfm.networks.priors import PUBLISHED, fetch_checkpoint  # noqa: PLC0415

    published = PUBLISHED["imagenet256"]
    typer.echo(f"{published.url}\n{published.source}", err=True)
    told = 0

    def tell(count: int) -> None:
        nonlocal told
        if count - told >= _TOLD_EVERY:
            told = count
            typer.echo(f"{count / 1e9:.1f} GB", err=True)

    file = fetch_checkpoint(published, folder, progress=tell)
    typer.echo(f"{file}; now: monai-ddfm prior convert {file} imagenet256.pt")


@prior_app.command("convert")
def prior_convert(
    checkpoint: Annotated[Path, typer.Argument(help="A guided-diffusion checkpoint.")],
    out: Annotated[Path, typer.Argument(help="The prior to write; its .json comes beside it.")],
    num_head_channels: Annotated[
        int, typer.Option(help="Channels of an attention head; files do not tell.")
    ] = 64,
    dtype: Annotated[
        str | None, typer.Option(help="float32 or float16; the checkpoint's if not given.")
    ] = None,
) -> None:
    """Convert a guided-diffusion checkpoint to a prior that `fuse --prior` takes."""
    from monai_ddfm.networks.priors import convert_checkpoint  # noqa: PLC0415 - keeps --help fast

    _check_target([checkpoint], out)
    convert_checkpoint(
        checkpoint, out, num_head_channels=num_head_channels, dtype=_weights_type(dtype)
    )
    prior_show(out)


@prior_app.command("average")
def prior_average(
    priors: Annotated[list[Path], typer.Argument(help="Priors that go on from one another.")],
    out: Annotated[Path, typer.Option("--output", "-o", help="The prior to write.")],
    dtype: Annotated[str, typer.Option(help="float32 or float16.")] = "float16",
) -> None:
    """Average priors of one training; those with fewer blocks grow to the shape of the last."""
    from monai_ddfm.networks.priors import averaged_prior, save_prior  # noqa: PLC0415

    kind = _weights_type(dtype)
    _check_target(priors, out)
    save_prior(averaged_prior(priors), out, dtype=kind)
    prior_show(out)


@prior_app.command("info")
def prior_show(
    file: Annotated[Path, typer.Argument(help="A prior or a guided-diffusion checkpoint.")],
) -> None:
    """Say what a checkpoint holds."""
    from dataclasses import asdict  # noqa: PLC0415

    from monai_ddfm.networks.priors import prior_info  # noqa: PLC0415

    for name, value in asdict(prior_info(file)).items():
        values = value.items() if isinstance(value, dict) else [("", value)]
        for part, text in values:
            label = f"{name} {part}".strip().replace("_", " ")
            typer.echo(f"{label:34}{'not known' if text is None else text}")


def _check_target(read: list[Path], out: Path) -> None:
    """Refuse to write a prior, or its description, over one of the files it is made from."""
    for path in read:
        inputs = {"the checkpoint": path, "its description": path.with_suffix(".json")}
        check_apart(inputs, written=[out, out.with_suffix(".json")])


def _weights_type(name: str | None) -> torch.dtype | None:
    import torch  # noqa: PLC0415

    known = {None: None, "float32": torch.float32, "float16": torch.float16}
    if name not in known:
        raise InputError(f"weights of type {name!r} are not supported; use float32 or float16.")
    return known[name]
