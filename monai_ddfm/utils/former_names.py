"""Modules, and names in them, under the names that they had before, for one release.

What is found under a former name is the module of today itself, with a `DeprecationWarning` that
names it. The finder is asked first: after a package has been found under its former name, Python
would load what is in it once more. To end the forwarding, remove this file and the calls of
`forward` and `renamed`.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from importlib.abc import Loader
else:  # it would cost more than the rest of this module
    Loader = object

__all__ = ["FORMER_NAMES", "forward", "renamed"]

_PACKAGE: Final = "monai_ddfm"
FORMER_NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "apart": "utils.apart",
        "apps.label.guard": "apps.label.identifiers",
        "apps.label.wishes": "apps.label.request",
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
        "kept_prior": "workflow.cached_prior",
        "label": "apps.label",
        "likelihoods.rectifiers.salience": "likelihoods.rectifiers.saliency",
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
        "transforms.items": "transforms.utility",
        "transforms.registration_climb": "transforms.registration_optimizer",
        "transforms.spread": "transforms.ensemble",
        "transforms.transform_child": "data.transform_child",
        "transforms.transform_claims": "data.transform_claims",
        "transforms.transform_files": "data.transform_files",
        "warnings_log": "utils.warnings_log",
        "workflow.kept_prior": "workflow.cached_prior",
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


def renamed(module: str, names: Mapping[str, str]) -> Callable[[str], Any]:
    """Return the `__getattr__` of a module (PEP 562) some of whose names have changed.

    Args:
        module: its name.
        names: former name: name of today.
    """

    def offered(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        _warn(f"{module}.{name}", names[name])
        return getattr(sys.modules[module], names[name])

    return offered


def _warn(former: str, today: str) -> None:
    warnings.warn(
        f"{former} is {today} now; the former name goes with the next release",
        DeprecationWarning,
        stacklevel=3,
    )


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
        _warn(spec.name, self._today)
        module = import_module(self._today)
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Give the module back its own description, which Python has just replaced."""
        module.__spec__ = self._spec
