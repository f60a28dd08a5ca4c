"""Checks the options that a user gives to a configuration of the bundle.

MONAI evaluates configuration values that begin with ``$`` as Python, resolves those that begin with
``@`` or ``%`` as references, and instantiates dictionaries with a ``_target_``. Values that come
from a user are never meant so, and are refused here: for Python callers by `check_options`, in
MONAI's own command by `check_command_line`.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fire.parser import DefaultParseValue
from monai.bundle import ConfigParser, update_kwargs

from monai_ddfm.errors import InputError, find_input_error
from monai_ddfm.options import all_options
from monai_ddfm.options.names import in_words_of
from monai_ddfm.options.values import refuse_evaluated

__all__ = ["check_command_line", "check_options"]

_PATHS_BESIDE = ("dataset_dir", "output")  # of MONAI's conventions, and of pictures
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
    typed = _typed_options(arguments)
    given: dict[str, Any] = {name: DefaultParseValue(text) for name, text in typed.items()}
    given = update_kwargs(given.pop("args_file", None), **given)
    own = {name: value for name, value in given.items() if name not in _MONAI_OPTIONS}
    files = given.get("config_file")
    _check_values(own, config=ConfigParser.load_config_files(files) if files else None)
    _check_typed(typed)
    _check_paths(own)


def check_options(options: Mapping[str, Any], *, config: Mapping[str, Any] | None) -> None:
    """Refuse options that `config` does not have, and values that MONAI would evaluate."""
    _check_values(options, config=config)
    _check_paths(options)


def _check_paths(options: Mapping[str, Any]) -> None:
    for name, value in options.items():
        kinds = (str, Path) if name in _PATHS_BESIDE else _kinds_of_path(name)
        for one in value if _is_each(name, value) else [value]:
            if kinds and one is not None and not isinstance(one, kinds):
                raise InputError(
                    f"the value {one!r} of option {name!r} is no path; write it as text, in quotes."
                )


def _is_each(name: str, value: Any) -> bool:
    """Whether a value is a list with one for each of several moving volumes."""
    option = all_options().get(name)
    return option is not None and option.each and isinstance(value, list | tuple)


def _kinds_of_path(name: str) -> tuple[type, ...]:
    """Return what an option may be that is a path, and nothing for another."""
    option = all_options().get(name)
    return (str, *option.types) if option and option.is_path else ()


def _check_values(options: Mapping[str, Any], *, config: Mapping[str, Any] | None) -> None:
    for name, value in options.items():
        entry = re.split("#|::", name)[0]
        if config is not None and entry not in config:
            raise InputError(f"option {name!r} is unknown; see `monai-ddfm fuse --help`.")
        refuse_evaluated(name, value)
        if _makes_object(value) and not isinstance((config or {}).get(entry), Mapping | list):
            raise InputError(f"option {name!r} takes a plain value, no object; write it as text.")


def _typed_options(arguments: Sequence[str]) -> dict[str, str]:
    """Read ``--name value`` and ``--name=value`` as python-fire does, which also takes one dash."""
    given: dict[str, str] = {}
    for position, argument in enumerate(arguments):
        if not re.match("--|-[a-zA-Z]", argument):
            continue
        name, equals, value = argument.lstrip("-").partition("=")
        if not equals and position + 1 < len(arguments):
            value = arguments[position + 1]
        given[name.replace("-", "_")] = value
    return given


def _check_typed(typed: Mapping[str, str]) -> None:
    """Refuse text that python-fire reads as something else: 2024_01_02 as the number 20240102."""
    for name, text in typed.items():
        value = DefaultParseValue(text)
        if value is None or isinstance(value, str) or _is_each(name, value):
            continue
        option = all_options().get(name)
        if name in _PATHS_BESIDE or (option and option.is_path):
            raise InputError(
                f"option --{name} is a path, but MONAI's command reads {text} as "
                f"{value!r}; write ./{text}."
            )
        if option and option.is_text and str(value) != text:
            raise InputError(
                f"option --{name} is text, but MONAI's command reads {text} as {value!r}; write "
                f"\"'{text}'\" with both kinds of quotes."
            )


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
        print(f"error: {in_words_of('monai', str(cause))}", file=sys.stderr)
