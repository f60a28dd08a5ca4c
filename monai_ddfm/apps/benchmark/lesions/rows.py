r"""What a table of detection compares: methods, and ways of showing both sources.

Beside every method of `monai_ddfm.apps.benchmark.methods` there are

* ``both``: the sources side by side, the ceiling: the observer has the channels of both;
* ``overlay:alpha=0.5``: :math:`(1 - \alpha)\,\mathrm{MRI} + \alpha\,\mathrm{table}(\mathrm{other})`
  in RGB, what clinical viewers show;
* ``mri-luminance``: the luminance of the MRI with the chroma of the other source.

The last two need color and are in the table of PET and SPECT alone. There, the other source is
always colored from its gray levels by the bundle's color table, also if it came as a picture in
color: so a lesion changes its color as uptake would, and all rows have the same table.

A method is colored as the bundle does by default. ``default:style=ycbcr`` shows it in another style
of `monai_ddfm.visualize.color_styles`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor

from monai_ddfm.apps.benchmark.cases import Case
from monai_ddfm.apps.benchmark.figures import colored
from monai_ddfm.apps.benchmark.methods import (
    Fusion,
    Method,
    parse_methods,
    parse_value,
    split_methods,
)
from monai_ddfm.errors import InputError
from monai_ddfm.inferers import Preset
from monai_ddfm.modalities import PictureModality
from monai_ddfm.transforms.color import PseudoColor
from monai_ddfm.visualize.color_styles import COLOR_STYLES

__all__ = ["Row", "RowKind", "View", "parse_rows", "show", "views_of"]

View = Literal["gray", "color"]
"""How a result is looked at: its gray levels, or its form in color."""

RowKind = Literal["method", "source", "both", "overlay", "mri-luminance"]

_WAYS: Final = ("both", "overlay", "mri-luminance")


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of the tables.

    Attributes:
        label: what the tables call it.
        kind: a method, one of the sources alone, or one of the ways above.
        method: of the kind "method".
        alpha: share of the other source in an overlay; 0 or 1 of the kind "source" is which one.
        style: of the color of a method, which is not shown in gray then; None is the default's.
    """

    label: str
    kind: RowKind
    method: Method | None = None
    alpha: float = 0.5
    style: str | None = None

    @property
    def views(self) -> tuple[View, ...]:
        """Return the views in which this row can be shown."""
        if self.kind == "source":
            return ("gray",)
        colored = self.kind in ("overlay", "mri-luminance") or self.style is not None
        return ("color",) if colored else ("gray", "color")


def parse_rows(
    given: str | Iterable[str | Method] | Mapping[str, Preset | Fusion | str],
    *,
    steps: int | None = None,
) -> list[Row]:
    """Read a list of methods and ways of showing both sources.

    Args:
        given: as for `parse_methods`, and the names above.
        steps: of every preset that names none itself.

    Raises:
        InputError: if a name or an option is unknown, or two rows have the same label.
    """
    rows: list[Row] = []
    if isinstance(given, Mapping):
        rows = [_method_row(method) for method in parse_methods(given, steps=steps)]
    else:
        for part in [given] if isinstance(given, str) else given:
            pieces: list[str | Method] = (
                [part] if isinstance(part, Method) else [*split_methods(part)]
            )
            for piece in pieces:
                name = "" if isinstance(piece, Method) else piece.partition(":")[0]
                if isinstance(piece, str) and name in _WAYS:
                    rows.append(_way(piece, name))
                else:
                    rows.extend(_method_rows(piece, steps))
    if not rows:
        raise InputError("no method is named; give average,max,default, say.")
    labels = [row.label for row in rows]
    for label in labels:
        if labels.count(label) > 1:
            raise InputError(f"method {label!r} is given twice; name one with as=NAME.")
    return rows


def views_of(modality: str) -> tuple[View, ...]:
    """Return how pairs of a modality are looked at: in color as well if the modality has one."""
    functional = PictureModality.parse(modality) in (PictureModality.PET, PictureModality.SPECT)
    return ("gray", "color") if functional else ("gray",)


def show(
    row: Row, sources: Tensor, fused: Tensor | None, *, view: View, modality: str
) -> tuple[Tensor, ...]:
    """Return the images that a reader sees, side by side.

    Args:
        row: what is shown.
        sources: [N, 2, H, W] in [0, 1], fixed and moving.
        fused: of a method, [N, 1, H, W], nominally in [0, 1].
        view: in gray or in color.
        modality: of the moving source.

    Returns:
        Images [N, 1, H, W] or, in color, [N, 3, H, W], in [0, 1].
    """
    fixed, moving = sources[:, :1], sources[:, 1:]
    if row.kind == "source":
        return (moving if row.alpha else fixed,)
    if row.kind == "method":
        assert fused is not None
        shown = fused.clamp(0, 1)
        style = row.style or COLOR_STYLES[0]
        return (shown if view == "gray" else _in_color(sources, shown, modality, style),)
    if row.kind == "both":
        return (fixed, moving if view == "gray" else _by_table(moving))
    if row.kind == "mri-luminance":
        return (_in_color(sources, fixed, modality, "ycbcr"),)
    return ((1 - row.alpha) * fixed + row.alpha * _by_table(moving),)


def _in_color(sources: Tensor, luminance: Tensor, modality: str, style: str) -> Tensor:
    """Color luminances [N, 1, H, W] as the bundle does, by moving sources of [N, 2, H, W]."""
    tinted = _by_table(sources[:, 1:])
    images = []
    for number, image in enumerate(sources):
        case = Case(
            name="", modality=modality, image=image[None], fixed=image[:1], moving=tinted[number]
        )
        images.append(colored(case, luminance[number : number + 1], style=style))
    return torch.stack(images)


def _by_table(moving: Tensor) -> Tensor:
    """Color gray levels [N, 1, H, W] by the bundle's color table, [N, 3, H, W]."""
    color = PseudoColor()
    return torch.stack([color(image * 2 - 1).as_tensor() for image in moving])


def _method_row(method: Method, style: str | None = None) -> Row:
    return Row(label=method.label, kind="method", method=method, style=style)


def _method_rows(piece: str | Method, steps: int | None) -> list[Row]:
    """Read a method that may name a style of color, which is no option of its fusion."""
    style = None
    if isinstance(piece, str):
        name, _, rest = piece.partition(":")
        options = [*filter(None, rest.split(","))]
        if named := [one for one in options if one.startswith("style=")]:
            style = named[-1].removeprefix("style=")
            kept = [one for one in options if one not in named]
            if not any(one.startswith("as=") for one in kept):
                kept.append(f"as={piece}")
            piece = f"{name}:{','.join(kept)}"
    if style is not None and style not in COLOR_STYLES:
        known = ", ".join(COLOR_STYLES)
        raise InputError(f"color style {style!r} is unknown; use one of {known}.")
    return [_method_row(method, style) for method in parse_methods([piece], steps=steps)]


def _way(text: str, name: str) -> Row:
    kind: RowKind = name  # type: ignore[assignment]  # one of _WAYS
    label, alpha = text, 0.5
    for piece in filter(None, text.partition(":")[2].split(",")):
        key, _, value = piece.partition("=")
        if key == "as" and value:
            label = value
        elif key == "alpha" and name == "overlay":
            number = parse_value(value)
            if not isinstance(number, int | float) or not 0 <= number <= 1 or math.isnan(number):
                raise InputError(f"alpha={value} of an overlay is unusable; give 0 to 1.")
            alpha = float(number)
        else:
            known = "alpha and as" if name == "overlay" else "as"
            raise InputError(f"method {name!r} has no option {key!r}; it has {known}.")
    return Row(label=label, kind=kind, alpha=alpha)
