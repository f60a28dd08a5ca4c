r"""The color picture of several moving volumes: function in hue, bone in white.

Volumes that are customarily shown in color (PET, SPECT) give their colors, each by its own table;
of several, tables of a single hue, so that the hue says which one it is. With colors
:math:`c_k \in [0, 1]^3` they are joined as light is,

.. math::
    c = 1 - \prod_k (1 - c_k),

in which no order counts, and black adds nothing. The others (CT, another MRI) are seen in the gray
levels of the fusion. Where half of the lightness is that of the color picture, as in the style
"mixed", bone would be dull, for it takes up no tracer. So the styles are told where bone is, by a
step r that rises around the level of bone (`finding_level`) in the gray level u of a CT; what they
make of it is said in `monai_ddfm.visualize.color_styles`. The style "overlay" has no gray levels of
the fusion; there bone is white in the color picture,

.. math::
    c \leftarrow \max(c,\; r(u)\,u) .
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, Final

import torch
from monai.utils import convert_to_tensor
from torch import Tensor

from monai_ddfm.errors import InputError
from monai_ddfm.likelihoods.balance import Balance
from monai_ddfm.sources import Source
from monai_ddfm.transforms.color import DEFAULT_TABLE, PseudoColor, unit_rgb
from monai_ddfm.transforms.windows import finding_level
from monai_ddfm.utils.color import HUE_TABLES, white_level
from monai_ddfm.visualize.color_styles import smooth_step

__all__ = ["Shown", "Tracers"]

_RISE: Final = 0.05
"""Half width of the step, in gray levels."""


@dataclass(frozen=True)
class Shown:
    """What the color picture is made of, in some rows.

    Attributes:
        color: of the tracers, RGB [3, h, W(, D)] in [0, 1].
        uptake: the largest of theirs, [1, h, W(, D)] in [0, 1].
        bone: where bone is, r, [1, h, W(, D)] in [0, 1]; None if nothing shows bone.
        white: its gray levels there, r u, likewise.
    """

    color: Tensor
    uptake: Tensor
    bone: Tensor | None = None
    white: Tensor | None = None


class Tracers:
    """Makes the color picture.

    Args:
        sources: the moving volumes.
        color_table: of the only one in color, or of the first of several.

    Raises:
        InputError: if more are shown in color than there are hues.
    """

    def __init__(self, sources: Sequence[Source], color_table: str = DEFAULT_TABLE) -> None:
        self.colored = tuple(s for s in sources if s.modality.has_color)
        self.anatomies = tuple(s for s in sources if not s.modality.has_color)
        if len(self.colored) > len(HUE_TABLES):
            raise InputError(
                f"{len(self.colored)} moving volumes are shown in color, for which there are "
                f"{len(HUE_TABLES)} hues; give fewer."
            )
        names = [color_table]
        if len(self.colored) > 1:
            first = HUE_TABLES[0] if color_table == DEFAULT_TABLE else color_table
            names = [first, *(hue for hue in HUE_TABLES if hue != first)]
        self.tables = {s.name: name for s, name in zip(self.colored, names, strict=False)}

    def picture(self, case: Mapping[Hashable, Any]) -> Callable[[slice], Shown]:
        """Return what gives the picture of some rows.

        Args:
            case: with the volumes of the sources, as they are and as the network saw them.

        Returns:
            What there is to be shown in a slice of rows.
        """
        parts = [self._colors(case, source) for source in self.colored]
        bones = [_bone(case, source) for source in self.anatomies]

        def of_rows(rows: slice) -> Shown:
            found = [part(rows) for part in parts]
            dark = reduce(torch.mul, (1 - color for color, _ in found))
            uptake = reduce(torch.maximum, (uptake for _, uptake in found))
            if not bones:
                return Shown(1 - dark, uptake)
            seen = [bone(rows) for bone in bones]
            steps, whites = zip(*seen, strict=True)
            return Shown(
                1 - dark, uptake, reduce(torch.maximum, steps), reduce(torch.maximum, whites)
            )

        return of_rows

    def described(self, case: Mapping[Hashable, Any]) -> dict[str, Any]:
        """Return what is done with a case, for a record."""
        tables = {s.name: self.tables[s.name] for s in self.colored if not _in_color(case, s)}
        chroma = "of the color tables" if tables else "of the volumes in color"
        about: dict[str, Any] = {"chroma": chroma, "color_tables": tables}
        if self.anatomies:
            about["white"] = [source.name for source in self.anatomies]
        return about

    def _colors(
        self, case: Mapping[Hashable, Any], source: Source
    ) -> Callable[[slice], tuple[Tensor, Tensor]]:
        """Return what gives colors and uptake of one source."""
        if _in_color(case, source):
            rgb = convert_to_tensor(case[source.key], dtype=torch.float32, track_meta=False)
            white = white_level(rgb)

            def read(rows: slice) -> tuple[Tensor, Tensor]:
                color = unit_rgb(rgb[:, rows], white=white)
                return color, color.amax(0, keepdim=True)

            return read
        scaled = convert_to_tensor(case[source.scaled_key], track_meta=False)
        table = PseudoColor(self.tables[source.name])

        def made(rows: slice) -> tuple[Tensor, Tensor]:
            part = scaled[:, rows].float()
            return table(part).as_tensor(), ((part + 1) / 2).clamp(0, 1)

        return made


def _in_color(case: Mapping[Hashable, Any], source: Source) -> bool:
    """Whether a source is a volume in color itself."""
    return source.key in case and len(case[source.key]) == 3


def _bone(case: Mapping[Hashable, Any], source: Source) -> Callable[[slice], tuple[Tensor, Tensor]]:
    """Return what gives the step of bone in a source, and its gray level there."""
    scaled = convert_to_tensor(case[source.scaled_key], track_meta=False)
    level = finding_level(source.modality, source.window) or Balance().finding

    def of_rows(rows: slice) -> tuple[Tensor, Tensor]:
        gray = ((scaled[:, rows].float() + 1) / 2).clamp(0, 1)
        step = smooth_step((gray - level) / (2 * _RISE) + 0.5)
        return step, gray * step

    return of_rows
