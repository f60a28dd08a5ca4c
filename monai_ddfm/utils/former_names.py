"""Modules under the names that they had before, for one release.

What is found under a former name is the module of today itself, with a `DeprecationWarning` that
names it. The finder is asked first: after a package has been found under its former name, Python
would load what is in it once more. To end the forwarding, remove this file and the call of
`forward`.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from importlib.abc import Loader
else:  # it would cost more than the rest of this module
    Loader = object

__all__ = ["FORMER_NAMES", "forward"]

_PACKAGE: Final = "monai_ddfm"
FORMER_NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "apart": "utils.apart",
        "balance": "likelihoods.balance",
        "baselines": "likelihoods.baselines",
        "benchmarks": "apps.benchmark",
        "bundle_files": "workflow.bundle_files",
        "checkpoints": "networks.priors",
        "checkpoints.priors": "networks.priors.loading",
        "cohort": "apps.cohort",
        "color": "utils.color",
        "color_styles": "visualize.color_styles",
        "demo": "apps.demo",
        "em": "likelihoods.em",
        "kept_prior": "workflow.kept_prior",
        "label": "apps.label",
        "memory": "utils.memory",
        "modality": "modalities",
        "noise_level": "likelihoods.noise_level",
        "noise_model": "likelihoods.noise_model",
        "observer": "metrics.observer",
        "option_checks": "options.checks",
        "option_fields": "options.fields",
        "option_names": "options.names",
        "perceptual": "visualize.perceptual",
        "pictures": "workflow.pictures",
        "places": "utils.places",
        "readers": "data.readers",
        "rectifiers": "likelihoods.rectifiers",
        "reports": "utils.reports",
        "saliency": "likelihoods.saliency",
        "scale_space": "likelihoods.scale_space",
        "schedulers": "networks.schedulers",
        "slabs": "utils.slabs",
        "speed": "apps.speed",
        "transforms.transform_child": "data.transform_child",
        "transforms.transform_claims": "data.transform_claims",
        "transforms.transform_files": "data.transform_files",
        "warnings_log": "utils.warnings_log",
        "writers": "data.writers",
        "writers.files": "utils.files",
        "writers.hashes": "utils.hashes",
        "writers.json_files": "utils.json_files",
        "writers.legend": "visualize.legend",
        "writers.panels": "visualize.panels",
        "writers.preview": "visualize.preview",
        "writers.remarks": "utils.remarks",
        "writers.report": "visualize.report",
        "writers.views": "visualize.views",
    }
)
"""Former name below the package: name of today. What is in a package goes with it."""


def forward() -> None:
    """Let Python find modules under their former names; a second call changes nothing."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def _name_of_today(name: str) -> str | None:
    """Return where a module is now; None if it has not moved."""
    below, rest = name.removeprefix(f"{_PACKAGE}."), ""
    while below:
        if below in FORMER_NAMES:
            return f"{_PACKAGE}.{FORMER_NAMES[below]}{rest}"
        below, _, last = below.rpartition(".")
        rest = f".{last}{rest}"
    return None


class _Finder:
    """Finds modules that have moved."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,  # noqa: ARG002 - Python's own signature
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        """Return how to load a module that has moved; None for all others."""
        today = _name_of_today(fullname) if fullname.startswith(f"{_PACKAGE}.") else None
        return None if today is None else ModuleSpec(fullname, _Loader(today))


class _Loader(Loader):
    """Loads the module of today in the place of a former one."""

    def __init__(self, today: str) -> None:
        self._today = today
        self._spec: ModuleSpec | None = None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return the module of today."""
        warnings.warn(
            f"{spec.name} is {self._today} now; the former name goes with the next release",
            DeprecationWarning,
            stacklevel=2,
        )
        module = import_module(self._today)
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Give the module back its own description, which Python has just replaced."""
        module.__spec__ = self._spec
