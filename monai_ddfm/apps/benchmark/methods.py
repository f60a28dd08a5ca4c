"""Methods by name, with options: ``average``, ``pyramid:levels=4``, ``default:prior_share=0.6``.

A method is a name, and after a colon options as ``name=value``, separated by commas:

* ``average``, ``max``, ``pyramid``, ``guided``: the plain rules of
  `monai_ddfm.likelihoods.baselines`; ``pyramid`` takes ``levels``.
* ``default``, ``contrast``, ``gain``, ``reference``, ``paper``: presets of `monai_ddfm.inferers`.
  Options are fields of the preset (``steps``, ``solver``, ``eta``), of its rectifier
  (``prior_share``, ``tv`` and so on) and of the rectifier's likelihood (``lean``,
  ``scale_share``), ``rectifier`` (name of a class of `monai_ddfm.likelihoods.rectifiers`; one
  without a mode needs ``steps``, from noise), options of
  `DDFMInferer` (``seed``, ``noise``, ``planes``, ``speed``, ``start_timestep``,
  ``early_stop``, ``autocast_dtype``), and ``prior``: a file, or ``identity`` for a network that
  removes nothing.

An option that begins with a modality (``CT.prior_share=0.2``) holds for that modality alone.
``as=NAME`` gives the method a shorter name in the tables.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, Final

import torch
from monai.data import MetaTensor
from torch import Tensor, nn

from monai_ddfm.apps.benchmark.bundle import Prior
from monai_ddfm.errors import InputError
from monai_ddfm.inferers import PRESETS, DDFMInferer, Preset, configure, preset_named
from monai_ddfm.likelihoods import rectifiers
from monai_ddfm.likelihoods.baselines import BASELINES, fuse_baseline
from monai_ddfm.likelihoods.rectifiers import likelihood_of
from monai_ddfm.modalities import PictureModality

__all__ = [
    "Fusion",
    "Method",
    "Prepared",
    "Setting",
    "described",
    "identity_prior",
    "parse_methods",
    "parse_value",
    "split_methods",
]

_INFERER_OPTIONS: Final = (
    "seed",
    "noise",
    "planes",
    "speed",
    "start_timestep",
    "early_stop",
    "autocast_dtype",
)
_TEXTS: Final = ("as", "prior")
_PROTOCOLS: Final = ("Rectifier", "SourceRectifier")
_WORDS: Final[Mapping[str, Any]] = {"true": True, "false": False, "none": None}

Fusion = Callable[[Tensor], Tensor]
"""[B, 2, H, W] or [B, 2, H, W, D] in [0, 1] -> [B, 1, ...]."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What pairs have in common that methods are made ready for.

    Attributes:
        modality: of the second source.
        finding: gray level, 0 to 1, from which its brightness is a finding by its units; None is
            white.
        spacing: size of a pixel or voxel in mm along H, W(, D).
    """

    modality: str
    finding: float | None = None
    spacing: tuple[float, ...] = (1.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class Method:
    """A method as it is asked for.

    Attributes:
        label: what the tables call it.
        name: one of the names above.
        options: its options by name.
        preset: used instead of the one called `name`, from Python.
        fuse: a function used instead of everything else, from Python; its results are not kept.
    """

    label: str
    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    preset: Preset | None = None
    fuse: Fusion | None = None

    @property
    def is_baseline(self) -> bool:
        """Whether it is one of the plain rules, which others are compared with."""
        return self.fuse is None and self.preset is None and self.name in BASELINES

    def options_for(self, modality: str) -> dict[str, Any]:
        """Return the options that hold for a modality, its own over the common ones."""
        common, own = {}, {}
        for name, value in self.options.items():
            prefix, dot, rest = name.partition(".")
            if not dot:
                common[name] = value
            elif PictureModality.parse(prefix) == PictureModality.parse(modality):
                own[rest] = value
        return common | own

    def prepare(self, setting: Setting | str, *, prior: Callable[[str | None], Prior]) -> Prepared:
        """Make the method ready for the pairs of one kind.

        Args:
            setting: their kind; a modality alone is that of pictures.
            prior: returns the prior of a name; None is the benchmark's own.

        Raises:
            InputError: if an option is unknown or out of range.
        """
        if self.fuse is not None:
            return Prepared(self.fuse, key=None)
        if isinstance(setting, str):
            setting = Setting(modality=setting)
        options = self.options_for(setting.modality)
        if self.is_baseline:
            return _prepare_baseline(self.name, options)
        preset = configure(
            self.preset or preset_named(self.name),
            modality=setting.modality,
            finding=setting.finding,
        )
        height, width = setting.spacing[:2]
        return _prepare_preset(
            preset.on_grid((height, width)), options, self.label, prior, spacing=setting.spacing
        )


@dataclass(frozen=True)
class Prepared:
    """A method that is ready to run.

    Attributes:
        fuse: the fusion.
        key: says all that its result depends on but for the sources; None is not known.
        network: the prior whose evaluations count, if there is one.
    """

    fuse: Fusion
    key: str | None
    network: nn.Module | None = None


class _IdentityPrior(nn.Module):
    """Predicts no noise: its clean image is x_t itself, scaled, so that it removes nothing."""

    prediction_type = "epsilon"
    image_channels = 1
    size_divisor = 1
    learns_variance = False

    def forward(self, x: Tensor, timesteps: Tensor) -> Tensor:
        del timesteps
        return torch.zeros_like(x)


def identity_prior() -> Prior:
    """Return a prior that removes nothing, to see what a trained one is worth."""
    return Prior(_IdentityPrior(), "identity")


def parse_methods(
    given: str | Iterable[str | Method] | Mapping[str, Preset | Fusion | str],
    *,
    steps: int | None = None,
) -> list[Method]:
    """Read a list of methods.

    Args:
        given: ``average,max,default:prior_share=0.6,steps=8``; a piece with an equals sign and no
            colon belongs to the method before it. Or several such texts or methods, or a mapping
            from labels to presets, functions or texts.
        steps: of every preset that names none itself.

    Raises:
        InputError: if a method is unknown, or two have the same label.
    """
    methods: list[Method] = []
    if isinstance(given, Mapping):
        for label, value in given.items():
            methods.append(_from_python(label, value))
    else:
        for part in [given] if isinstance(given, str) else given:
            methods.extend([part] if isinstance(part, Method) else map(_parse, split_methods(part)))
    if not methods:
        raise InputError("no method is named; give average,max,default, say.")
    labels = [method.label for method in methods]
    for label in labels:
        if labels.count(label) > 1:
            raise InputError(f"method {label!r} is given twice; name one with as=NAME.")
    if steps is not None:
        methods = [_with_steps(method, steps) for method in methods]
    return methods


def _from_python(label: str, value: Preset | Fusion | str) -> Method:
    if isinstance(value, str):
        return replace(_parse(value), label=label)
    if isinstance(value, Preset):
        return Method(label=label, name=label, preset=value)
    return Method(label=label, name=label, fuse=value)


def _with_steps(method: Method, steps: int) -> Method:
    if method.is_baseline or method.fuse is not None or "steps" in method.options:
        return method
    return replace(method, options={**method.options, "steps": steps})


def described(method: Method) -> dict[str, Any]:
    """Return what a method is, for a record."""
    about: dict[str, Any] = {"name": method.name, **method.options}
    return about if method.preset is None else {**about, "preset": repr(method.preset)}


def split_methods(text: str) -> list[str]:
    """Split a list of methods at commas, but keep the options of a method with it."""
    parts: list[str] = []
    for piece in filter(None, re.split(r"[,\s]+", text)):
        if "=" in piece and ":" not in piece.partition("=")[0] and parts:
            parts[-1] += ("," if ":" in parts[-1] else ":") + piece
        else:
            parts.append(piece)
    return parts


def _parse(text: str) -> Method:
    name, _, rest = text.strip().partition(":")
    if name not in PRESETS and name not in BASELINES:
        known = ", ".join((*BASELINES, *PRESETS))
        raise InputError(f"method {name!r} is unknown; use {known}.")
    options: dict[str, Any] = {}
    for piece in filter(None, rest.split(",")):
        key, equals, value = piece.partition("=")
        if not equals or not key:
            raise InputError(f"option {piece!r} of method {name!r} is no name=value.")
        options[key] = value if key in _TEXTS else parse_value(value)
    label = str(options.pop("as", text.strip()))
    return Method(label=label, name=name, options=options)


def parse_value(text: str) -> Any:
    """Read the value of an option: a truth value, none, a number, or the text itself."""
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _prepare_baseline(name: str, options: Mapping[str, Any]) -> Prepared:
    unknown = sorted(set(options) - ({"levels"} if name == "pyramid" else set()))
    if unknown:
        raise InputError(f"method {name!r} has no option {unknown[0]!r}; leave it out.")
    return Prepared(
        lambda image: fuse_baseline(image, method=name, **options),
        f"{name} {sorted(options)} {sorted(options.items())}",
    )


def _prepare_preset(
    preset: Preset,
    options: dict[str, Any],
    label: str,
    prior: Callable[[str | None], Prior],
    *,
    spacing: Sequence[float],
) -> Prepared:
    chosen = prior(options.pop("prior", None))
    inferer_options = {name: options.pop(name) for name in _INFERER_OPTIONS if name in options}
    if "rectifier" in options:
        preset = replace(preset, rectifier=_rectifier_named(options.pop("rectifier")))
        if "steps" in options and not likelihood_of(preset.rectifier).starts_from_sources:
            preset = replace(preset, start="noise")
    own = {f.name for f in fields(preset)} & options.keys()
    preset = replace(preset, **{name: options.pop(name) for name in own})
    rectifier: Any = preset.rectifier
    # A rectifier may have a field that holds the parameters of its likelihood.
    holders = (f.name for f in fields(rectifier) if is_dataclass(getattr(rectifier, f.name)))
    weights = next(holders, None)
    of_likelihood: dict[str, Any] = {}
    known = {f.name for f in fields(rectifier)}
    if weights is not None:
        parameters = {f.name for f in fields(getattr(rectifier, weights))}
        of_likelihood = {name: options.pop(name) for name in parameters & options.keys()}
        known |= parameters
    if unknown := sorted(options.keys() - known):
        names = ", ".join(sorted({f.name for f in fields(preset)} | known | {"prior"}))
        raise InputError(f"method {label!r} has no option {unknown[0]!r}; it has {names}.")
    try:
        if weights is not None and of_likelihood:
            options[weights] = replace(getattr(rectifier, weights), **of_likelihood)
        preset = replace(preset, rectifier=replace(rectifier, **options))
        inferer = DDFMInferer(preset=preset, **inferer_options)
    except TypeError as error:
        raise InputError(f"an option of method {label!r} is of the wrong kind ({error}).") from None
    device = next(chosen.network.parameters(), torch.zeros(())).device

    def fuse(image: Tensor) -> Tensor:
        sources = image.to(device) * 2 - 1
        if inferer.planes != "axial" and image.ndim == 5:  # which planes, the voxels decide
            sources = MetaTensor(sources, affine=torch.diag(torch.tensor([*spacing, 1.0])))
        fused = inferer(sources, chosen.network).as_subclass(Tensor)
        return ((fused[:, :1] + 1) / 2).to(image)

    key = f"{preset!r} {sorted(inferer_options.items())} {chosen.key}"
    return Prepared(fuse, key, chosen.network)


def _rectifier_named(name: str) -> Any:
    names = [n for n in rectifiers.__all__ if n.endswith("Rectifier") and n not in _PROTOCOLS]
    for known in names:
        if name.lower() in (known.lower(), known.lower().removesuffix("rectifier")):
            return getattr(rectifiers, known)()
    raise InputError(f"rectifier {name!r} is unknown; use {', '.join(names)}.")
