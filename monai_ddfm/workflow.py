"""Runs the bundle's own configuration from Python and from the command line.

No fusion logic lives here: `fuse` turns its arguments into overrides of
``bundles/ddfm_medical_fusion/configs/inference.json``, has MONAI's `ConfigWorkflow` run it, and
hands back what the run wrote. ``python -m monai.bundle run`` runs the same file.

MONAI evaluates configuration values that begin with ``$`` as Python, resolves those that begin with
``@`` or ``%`` as references, instantiates dictionaries with a ``_target_`` and reads ``#`` anywhere
as a separator. Values that come from a user are never meant so. The first three are refused, in
`fuse` and, through `check_command_line`, in MONAI's own command; `fuse` hands paths over as `Path`,
which MONAI leaves alone.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from fire.parser import DefaultParseValue
from monai.bundle import ComponentLocator, ConfigParser, ConfigWorkflow, update_kwargs

from monai_ddfm.bundle_files import bundle_root, prior_overrides
from monai_ddfm.errors import InputError, find_input_error

__all__ = [
    "FusionResult",
    "bundle_root",
    "check_command_line",
    "check_device",
    "fuse",
    "run_configuration",
    "run_inference",
]

_EVALUATED = ("$", "@", "%")
_MONAI_OPTIONS = {
    "config_file",
    "final_id",
    "init_id",
    "logging_file",
    "meta_file",
    "run_id",
    "tracking",
    "workflow_name",
    "workflow_type",
}


@dataclass(frozen=True, slots=True)
class FusionResult:
    """What a run has written.

    Attributes:
        output_dir: the folder.
        files: path by file name, for example ``files["fused.nii.gz"]``.
        provenance: content of ``provenance.json``.
    """

    output_dir: Path
    files: Mapping[str, Path]
    provenance: Mapping[str, Any]


def fuse(
    fixed: str | Path,
    moving: str | Path,
    *,
    modality: str,
    output_dir: str | Path,
    prior: str | Path | None = None,
    **overrides: Any,
) -> FusionResult:
    """Fuse two volumes of one patient.

    Args:
        fixed: the MRI; the result is on its grid.
        moving: the CT, PET or SPECT.
        modality: of `moving`: "CT", "PET" or "SPECT".
        output_dir: folder for the results; made if it does not exist.
        prior: another prior than the bundle's, with its sidecar (see `monai_ddfm.checkpoints`).
        overrides: further options of the configuration by name, for example ``preset``, ``steps``,
            ``seed``, ``device``, ``batch_size``, ``registration``; None is the configuration's own.

    Returns:
        The files written and the provenance.

    Raises:
        InputError: if something given cannot be used; nothing is written then.

    Example:
        >>> from monai_ddfm import fuse
        >>> result = fuse("t1.nii.gz", "pet.nii.gz", modality="PET",
        ...               output_dir="out")  # doctest: +SKIP
        >>> result.files["fused.nii.gz"]  # doctest: +SKIP
        PosixPath('out/fused.nii.gz')
    """
    files = {"fixed": _path("fixed", fixed), "moving": _path("moving", moving)}
    if files["fixed"].absolute() == files["moving"].absolute() and files["fixed"].is_file():
        raise InputError(f"{fixed} is given twice; give the CT, PET or SPECT as moving.")
    options = {
        **files,
        "modality": str(modality),
        "output_dir": _path("output_dir", output_dir),
        **({} if prior is None else prior_overrides(prior)),
        **overrides,
    }
    return run_inference(options)


def run_inference(options: Mapping[str, Any]) -> FusionResult:
    """Run the bundle's inference with `options` in place of its own.

    Args:
        options: values by name of the configuration's top-level entries; None is passed over.

    Raises:
        InputError: if an option is unknown or something given cannot be used.
    """
    summary = run_configuration("inference.json", options=options)
    files = {name: Path(path) for name, path in summary["files"].items()}
    provenance = json.loads(files["provenance.json"].read_text(encoding="utf-8"))
    return FusionResult(Path(summary["folder"]), files, provenance)


def run_configuration(*names: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Run configurations of the bundle, the later ones amending the first.

    Args:
        names: files in the bundle's folder ``configs``.
        options: values by name of top-level entries; None is passed over.

    Returns:
        The summary ("outputs") of the last case.

    Raises:
        InputError: if an option is unknown or something given cannot be used.
    """
    root = bundle_root()
    files = [str(root / "configs" / name) for name in names]
    chosen = {name: value for name, value in options.items() if value is not None}
    _check_options(chosen, config=ConfigParser.load_config_files(files))
    try:
        with _undisturbed():
            workflow = ConfigWorkflow(
                config_file=files,
                workflow_type="infer",
                logging_file=False,
                bundle_root=str(root),
                **chosen,
            )
            workflow.parser.locator = _components()
            workflow.initialize()
            workflow.run()
            workflow.finalize()
        outputs: dict[str, Any] = workflow.evaluator.state.output[0]["outputs"]
    except Exception as error:
        if cause := find_input_error(error):
            raise InputError(str(cause)) from error
        raise
    return outputs


def check_command_line(arguments: Sequence[str] | None = None) -> None:
    """Check the options of ``python -m monai.bundle run``, which MONAI takes as they come.

    The configuration calls this before anything else. It also has an `InputError` that nobody
    catches end the program with its one sentence instead of a traceback.

    Args:
        arguments: the command line without the program; None is this process's, if MONAI's bundle
            command was called, and nothing otherwise.

    Raises:
        InputError: if an option is unknown to the configuration, or its value would be evaluated.
    """
    if arguments is None:
        called = Path(sys.argv[0]).parts[-3:]
        if called != ("monai", "bundle", "__main__.py"):
            return
        arguments = sys.argv[1:]
        sys.excepthook = _one_sentence
    given = _parse_options(arguments)
    given = update_kwargs(given.pop("args_file", None), **given)
    own = {name: value for name, value in given.items() if name not in _MONAI_OPTIONS}
    files = given.get("config_file")
    _check_options(own, config=ConfigParser.load_config_files(files) if files else None)


def check_device(name: str) -> None:
    """Refuse a device that this machine does not have.

    Args:
        name: as PyTorch names devices: "cpu", "cuda", "cuda:1".

    Raises:
        InputError: if there is no such device here.
    """
    try:
        torch.zeros(1, device=name).item()  # "meta" has shapes only
    except (RuntimeError, AssertionError, TypeError) as error:
        raise InputError(f"device {name!r} is not on this machine; use --device cpu.") from error


def _path(name: str, given: str | Path) -> Path:
    if not str(given).strip():
        raise InputError(f"option {name!r} is empty; give a path.")
    return Path(given)


@lru_cache(maxsize=1)
def _components() -> ComponentLocator:
    """Return MONAI's table of its components: every run would look through all of MONAI again."""
    return ComponentLocator()


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Keep MONAI's remarks on its own files off the screen, and its folder off the module path."""
    logger, path = logging.getLogger("monai.bundle.workflows"), list(sys.path)
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
        sys.path[:] = path


def _parse_options(arguments: Sequence[str]) -> dict[str, Any]:
    """Read ``--name value`` and ``--name=value`` as python-fire does, which also takes one dash."""
    given: dict[str, Any] = {}
    for position, argument in enumerate(arguments):
        if not re.match("--|-[a-zA-Z]", argument):
            continue
        name, equals, value = argument.lstrip("-").partition("=")
        if not equals and position + 1 < len(arguments):
            value = arguments[position + 1]
        given[name.replace("-", "_")] = DefaultParseValue(value)
    return given


def _check_options(options: Mapping[str, Any], *, config: Mapping[str, Any] | None) -> None:
    """Refuse options that `config` does not have, and values that MONAI would evaluate."""
    for name, value in options.items():
        entry = re.split("#|::", name)[0]
        if config is not None and entry not in config:
            raise InputError(f"option {name!r} is unknown; see `monai-ddfm fuse --help`.")
        for text in _texts_in(value):
            if text.startswith(_EVALUATED):
                raise InputError(
                    f"the value {text!r} of option {name!r} begins with {text[0]!r}, which MONAI "
                    "would evaluate; write a path in full."
                )
        if _makes_object(value) and not isinstance((config or {}).get(entry), Mapping | list):
            raise InputError(f"option {name!r} takes a plain value, no object; write it as text.")


def _texts_in(value: Any) -> Iterator[str]:
    """Yield the texts and paths of a value, at any depth."""
    if isinstance(value, str | Path):
        yield str(value)
    elif isinstance(value, Mapping | list | tuple | set):
        parts = [*value, *value.values()] if isinstance(value, Mapping) else value
        yield from (text for part in parts for text in _texts_in(part))


def _makes_object(value: Any) -> bool:
    """Whether MONAI would call something named in `value`, at any depth."""
    if isinstance(value, Mapping):
        return "_target_" in value or any(map(_makes_object, value.values()))
    return isinstance(value, list | tuple) and any(map(_makes_object, value))


def _one_sentence(kind: type[BaseException], error: BaseException, traceback: Any) -> None:
    """Exception hook: one sentence for what a user can mend, a traceback for everything else."""
    cause = find_input_error(error)
    if cause is None:
        sys.__excepthook__(kind, error, traceback)
    else:
        logging.getLogger(__name__).debug("refused", exc_info=error)
        print(f"error: {cause}", file=sys.stderr)
