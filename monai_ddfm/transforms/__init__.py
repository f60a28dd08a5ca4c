"""Array and dictionary transforms around the fusion, from loading to color."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monai_ddfm.utils.lazy import lazily

if TYPE_CHECKING:  # type checkers and editors read the modules; Python loads one when asked for it
    from monai_ddfm.transforms.burned_in import *
    from monai_ddfm.transforms.color import *
    from monai_ddfm.transforms.colorize import *
    from monai_ddfm.transforms.ensemble import *
    from monai_ddfm.transforms.grid import *
    from monai_ddfm.transforms.intensity import *
    from monai_ddfm.transforms.loading import *
    from monai_ddfm.transforms.outcome import *
    from monai_ddfm.transforms.pictures import *
    from monai_ddfm.transforms.recovery import *
    from monai_ddfm.transforms.region import *
    from monai_ddfm.transforms.registration import *
    from monai_ddfm.transforms.sources import *
    from monai_ddfm.transforms.utility import *


def _of_cases(*stems: str) -> tuple[str, ...]:
    """Return the names that MONAI gives the dictionary form of transforms."""
    return tuple(f"{stem}{end}" for stem in stems for end in ("D", "Dict", "d"))


def _both(*stems: str) -> tuple[str, ...]:
    """Return the names of transforms that have an array form, too."""
    return (*stems, *_of_cases(*stems))


_HOMES = {
    "burned_in": _of_cases("CheckBurnedIn"),
    "color": _both("MergeChroma", "PseudoColor", "SplitLuminanceChroma"),
    "colorize": _of_cases("ColorizeFusion"),
    "ensemble": _of_cases("DrawSources", "SplitEnsemble"),
    "grid": _of_cases("ChooseGrid", "RestoreGrid", "ToCanonical"),
    "intensity": _both("NormalizeByModality"),
    "loading": (*_of_cases("CheckSamePatient"), *_both("LoadVolume")),
    "outcome": _of_cases("SplitFusion"),
    "pictures": (*_of_cases("ColorizePicture", "JoinLuminance"), *_both("LoadPicture")),
    "recovery": _of_cases("RecoverMoving"),
    "region": _of_cases("ChooseRegion"),
    "registration": _both(
        "ApplyTransform",
        "RegisterAffine",
        "RegisterDeformable",
        "RegisterRigid",
        "RegisterVolumes",
    ),
    "sources": _of_cases("LoadReferenceMask", "ReleaseSources", "RestoreSources"),
    "utility": _of_cases("ReleaseVoxels", "ShareItems"),
}
__all__ = sorted(name for names in _HOMES.values() for name in names)  # noqa: PLE0605
_HOMES["ensemble"] += _of_cases("SplitSpread")  # former names, for one release
__getattr__ = lazily(__name__, _HOMES)
