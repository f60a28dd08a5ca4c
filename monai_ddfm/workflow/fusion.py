"""Runs the bundle's own configuration from Python and from the command line.

No fusion logic lives here: `fuse` turns its arguments into overrides of
``bundles/ddfm_medical_fusion/configs/inference.json``, has MONAI's `ConfigWorkflow` run it, and
hands back what the run wrote. ``python -m monai.bundle run`` runs the same file.

What MONAI would evaluate is refused (see `monai_ddfm.options.checks`). It also reads ``#`` anywhere
as a separator; so `fuse` hands paths over as `Path`, which MONAI leaves alone.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Unpack

import torch
from monai.bundle import ComponentLocator, ConfigParser, ConfigWorkflow

from monai_ddfm.errors import InputError, find_input_error
from monai_ddfm.options import Options
from monai_ddfm.options.checks import check_command_line, check_options
from monai_ddfm.options.names import in_words_of
from monai_ddfm.sources import as_list
from monai_ddfm.utils.warnings_log import log_warnings
from monai_ddfm.visualize.notebook import result_html, result_viewer
from monai_ddfm.workflow.bundle_files import bundle_root, prior_overrides
from monai_ddfm.workflow.glance import check_paths

__all__ = [
    "FusionResult",
    "bundle_root",
    "check_command_line",
    "check_device",
    "check_inference",
    "fuse",
    "log_warnings_of",
    "run_configuration",
    "run_inference",
]


@dataclass(frozen=True, slots=True)
class FusionResult:
    """What a run has written; in a notebook it shows itself.

    Attributes:
        output_dir: the folder.
        files: path by file name, for example ``files["fused.nii.gz"]``.
        provenance: content of ``provenance.json``; its ``warnings`` are what needs looking at.
    """

    output_dir: Path
    files: Mapping[str, Path]
    provenance: Mapping[str, Any]

    def _repr_html_(self) -> str:
        """Return the preview and the warnings."""
        return result_html(self.files, self.provenance.get("warnings", ()))

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        """Return a viewer too, if there is one; where it cannot be shown, the preview is."""
        viewer = result_viewer(self.files)
        shown = {} if viewer is None else viewer._repr_mimebundle_()
        # Some widgets return metadata beside the data.
        shown = shown[0] if isinstance(shown, tuple) else shown
        return {**shown, "text/html": self._repr_html_(), "text/plain": repr(self)}


def fuse(
    fixed: str | Path,
    moving: str | Path | Sequence[str | Path],
    *,
    modality: str | Sequence[str],
    output_dir: str | Path,
    name: Sequence[str] | None = None,
    prior: str | Path | None = None,
    **options: Unpack[Options],
) -> FusionResult:
    """Fuse two volumes of one patient, or more.

    Args:
        fixed: the MRI; the result is on its grid.
        moving: the CT, PET or SPECT; or several, see docs/how-to/several-sources.md.
        modality: of `moving`: "CT", "PET" or "SPECT"; one for each of several.
        output_dir: folder for the results; made if it does not exist.
        name: what each of several moving volumes is called in names of files; None is its modality.
        prior: another prior than the bundle's, with its sidecar (see `monai_ddfm.networks.priors`).
        options: see `monai_ddfm.options`; further entries of the configuration by name, such as
            ``inferer#axis``, are handed on too. None is the configuration's own.

    Returns:
        The files written and the provenance.

    Raises:
        InputError: if something given cannot be used; nothing is written then.

    Examples:
        >>> from monai_ddfm import fuse
        >>> result = fuse("t1.nii.gz", "pet.nii.gz", modality="PET",
        ...               output_dir="out")  # doctest: +SKIP
        >>> result.files["fused.nii.gz"]  # doctest: +SKIP
        PosixPath('out/fused.nii.gz')
        >>> result = fuse("t1.nii.gz", ["pet.nii.gz", "ct.nii.gz"], modality=["PET", "CT"],
        ...               output_dir="out")  # doctest: +SKIP
    """
    kinds = [str(kind) for kind in as_list(modality)]
    return run_inference(
        {
            **check_paths(fixed, moving, output_dir),
            "modality": kinds[0] if len(kinds) == 1 else kinds,
            "name": name,
            **({} if prior is None else prior_overrides(prior)),
            **options,
        }
    )


def run_inference(options: Mapping[str, Any]) -> FusionResult:
    """Run the bundle's inference with `options` in place of its own.

    Args:
        options: values by name of the configuration's top-level entries; None is passed over.

    Raises:
        InputError: if an option is unknown or something given cannot be used.
    """
    summary = run_configuration("inference.json", options=options)
    files = {name: Path(path) for name, path in summary["files"].items()}
    # Not read from its file, which another run in the same folder may have replaced by now.
    return FusionResult(Path(summary["folder"]), files, summary["provenance"])


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
    with _plain_errors(), _undisturbed():
        workflow = _configured(*names, options=options)
        try:
            workflow.initialize()
            workflow.run()
            workflow.finalize()
        except BaseException:
            _let_go(workflow)
            raise
    outputs: dict[str, Any] = workflow.evaluator.state.output[0]["outputs"]
    return outputs


def log_warnings_of(evaluator: Any) -> None:
    """Log what needs looking at in the last case; the configuration calls this at its end.

    Args:
        evaluator: that has run.
    """
    outputs = evaluator.state.output or []
    for case in outputs:
        log_warnings(case.get("outputs", {}).get("warnings", ()))


def check_inference(options: Mapping[str, Any]) -> None:
    """Refuse options that inference would refuse before it reads a volume; nothing is written.

    Whether there is a prior, and the device that is asked for, is not looked at: the fusion may be
    meant for another machine.

    Args:
        options: values by name of the configuration's top-level entries; None is passed over.

    Raises:
        InputError: if an option is unknown or its value cannot be used.
    """
    with _plain_errors(), _undisturbed():
        parser = _configured("inference.json", options={**options, "device": "cpu"}).parser
        for name in ("ensemble", "preprocessing", "postprocessing"):
            parser.get_parsed_content(name)


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


def _configured(*names: str, options: Mapping[str, Any]) -> ConfigWorkflow:
    """Return configurations of the bundle with `options` in place of their own, not begun."""
    root = bundle_root()
    files = [str(root / "configs" / name) for name in names]
    chosen = {name: value for name, value in options.items() if value is not None}
    check_options(chosen, config=ConfigParser.load_config_files(files))
    workflow = ConfigWorkflow(
        config_file=files,
        workflow_type="infer",
        logging_file=False,
        bundle_root=str(root),
        **chosen,
    )
    workflow.parser.locator = _components()
    return workflow


def _let_go(workflow: ConfigWorkflow) -> None:
    """Release the work folder of a run that failed, which its error keeps alive.

    The same run in the same process could not remove the folder otherwise.
    """
    with suppress(Exception):  # the configuration itself may be what failed
        workflow.parser.get_parsed_content("work").release()


@lru_cache(maxsize=1)
def _components() -> ComponentLocator:
    """Return MONAI's table of its components: every run would look through all of MONAI again."""
    return ComponentLocator()


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Raise what a user can mend as the error that it began as, not as MONAI passes it on."""
    try:
        yield
    except Exception as error:
        if cause := find_input_error(error):
            raise InputError(in_words_of("python", str(cause))) from error
        raise


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Keep MONAI's remarks on its own files off the screen, and its folder off the module path.

    The caller's random numbers go on as if nothing had been: networks and loaders draw some.
    """
    logger, path = logging.getLogger("monai.bundle.workflows"), list(sys.path)
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        logger.setLevel(level)
        sys.path[:] = path
