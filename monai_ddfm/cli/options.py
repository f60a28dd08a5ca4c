"""Parameters of the commands, made from `monai_ddfm.options`.

A command names the options that its own code handles, and takes the others of its face together::

    @with_options("fuse")
    def fuse(fixed: Path, moving: Path, **options: Any) -> None: ...

`with_options` gives Typer the signature that is meant: help, words for completion, range and
default of every option. What is typed is handed on as text, and judged where it is used, in the
same sentences as from Python. Nothing here may import PyTorch: ``--help`` must stay quick. For the
same reason, modules of commands keep annotations as objects, without ``from __future__``.
"""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, get_origin, get_type_hints

import typer
from typer.core import TyperCommand

from monai_ddfm.errors import InputError
from monai_ddfm.options import all_options, options_of
from monai_ddfm.options.fields import Face, Option
from monai_ddfm.utils.files import NOTICE

__all__ = ["NOTICE", "CommandWithMore", "parse_path", "with_options"]

_MORE, _JSON = "help_all", "help_json"


def parse_path(text: str) -> Path:
    """Read a path; an empty one would silently be the present folder."""
    if not text.strip():
        raise typer.BadParameter("it is empty, give a path")
    return Path(text)


def with_options(
    face: Face | None = None, *, common_first: bool = False
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give the parameters of a command what is declared of the options of the same name.

    Args:
        face: the face whose other options the command takes as ``**options``.
        common_first: whether the help shows common options only, and ``--help-all`` the rest; the
            command must be a `CommandWithMore`.

    Returns:
        A decorator. Parameters that Typer's own words describe stay as they are.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        hints = get_type_hints(function, include_extras=True)
        signature = inspect.signature(function)
        shown = options_of(face) if face else {}
        own = [
            _described(parameter, hints[parameter.name])
            for parameter in signature.parameters.values()
            if parameter.kind is not parameter.VAR_KEYWORD
        ]
        named = {parameter.name for parameter in own}
        others = [o for n, option in shown.items() if n not in named for o in option.flat()]
        # Only this face takes several moving volumes.
        parameters = [
            *own,
            *(_parameter(o, in_groups=common_first, each=face == "fuse") for o in others),
        ]
        if common_first:
            parameters += [_help_all(), _help_json(shown)]

        @functools.wraps(function)
        def command(**given: Any) -> None:
            for asked in (_MORE, _JSON):
                given.pop(asked, None)
            mine = {name: value for name, value in given.items() if name in named}
            rest = {name: value for name, value in given.items() if name not in named}
            function(**{n: _read(n, v) for n, v in mine.items()}, **_gathered(rest, shown))

        command.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=[p.replace(kind=p.KEYWORD_ONLY) for p in parameters]
        )
        command.__annotations__ = {p.name: p.annotation for p in parameters}
        return command

    return decorate


class CommandWithMore(TyperCommand):
    """A command whose ``--help`` shows the common options, and ``--help-all`` all of them."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Show the help; options that are left out stay known to the parser and to completion."""
        known = {o.name: o for option in all_options().values() for o in option.flat()}
        for parameter in self.params:
            option = known.get(str(parameter.name))
            is_rare = option is not None and not (option.common or option.required)
            parameter.hidden = is_rare and not ctx.params.get(_MORE)  # type: ignore[attr-defined]
        super().format_help(ctx, formatter)


def _help_all() -> inspect.Parameter:
    def show(ctx: typer.Context, value: bool) -> None:
        if value:
            ctx.params[_MORE] = True
            typer.echo(ctx.get_help(), color=ctx.color)
            raise typer.Exit

    described = typer.Option(
        "--help-all", help="Show all options and stop.", callback=show, is_eager=True
    )
    return _keyword(_MORE, Annotated[bool, described], False)


def _help_json(options: Mapping[str, Option]) -> inspect.Parameter:
    def show(value: bool) -> None:
        if value:
            flat = [one.described() for option in options.values() for one in option.flat()]
            typer.echo(json.dumps(flat, indent=1, default=str))
            raise typer.Exit

    about = "Show all options for a program to read, and stop."
    described = typer.Option("--help-json", help=about, callback=show, is_eager=True)
    return _keyword(_JSON, Annotated[bool, described], False)


def _described(parameter: inspect.Parameter, hint: Any) -> inspect.Parameter:
    """Return a parameter of a command with what is declared of it, if Typer is told nothing yet."""
    option = all_options().get(parameter.name)
    if option is None or get_origin(hint) is Annotated:
        return parameter.replace(annotation=hint)
    each = get_origin(hint) is list
    if parameter.default is parameter.empty:
        return _parameter(replace(option, required=True), each=each)
    return _parameter(replace(option, default=parameter.default, required=False), each=each)


def _parameter(option: Option, *, in_groups: bool = False, each: bool = False) -> inspect.Parameter:
    """Return the parameter of a command that an option is.

    Args:
        option: as declared.
        in_groups: whether the help shows what is not common in panels, one for each group.
        each: whether the command takes one for each of several moving volumes, where the option is
            of such a kind.
    """
    is_rare = not (option.common or option.required)
    panel = option.group if in_groups and is_rare else None
    names = [option.flag, option.short] if option.short else [option.flag]
    if option.types[0] is bool:
        about = typer.Option(*names, help=option.help, rich_help_panel=panel)
        return _keyword(option.name, Annotated[bool, about], bool(option.default))
    about = typer.Option(
        *names,
        parser=parse_path if option.is_path else None,
        metavar=_metavar(option),
        help=option.help,
        rich_help_panel=panel,
        autocompletion=_completion(option.words) if option.words else None,
        show_default=_default_in_help(option),
    )
    kind: Any = str if option.is_mixed else option.types[0]
    if each and option.each:
        kind = list[kind]
    if option.required:
        return _keyword(option.name, Annotated[kind, about], inspect.Parameter.empty)
    return _keyword(option.name, Annotated[kind | None, about], option.default)


def _default_in_help(option: Option) -> bool | str:
    """Return whether the help shows the default, or the words that stand for it."""
    if option.required or option.default is not None:
        return not option.required
    return option.unset if option.unset != "none" else False


def _keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=default, annotation=annotation)


def _metavar(option: Option) -> str | None:
    """Return what stands for the value: the words, the range, or its kind."""
    if option.words:
        open_end = () if option.only_words else ("PATH",) if Path in option.types else ("...",)
        return f"[{'|'.join((*option.words, *open_end))}]"
    return "PATH" if option.is_path else option.range or None


def _completion(words: tuple[str, ...]) -> Callable[[str], list[str]]:
    def complete(incomplete: str) -> list[str]:
        return [word for word in words if word.startswith(incomplete)]

    return complete


def _gathered(given: Mapping[str, Any], options: Mapping[str, Option]) -> dict[str, Any]:
    """Return values as the configuration takes them: parts of an option together again."""
    gathered: dict[str, Any] = {}
    for name, option in options.items():
        if option.parts:
            parts = {part: given[f"{name}_{part}"] for part in option.parts}
            said = {part: value for part, value in parts.items() if value is not None}
            gathered[name] = said or None
        elif name in given:
            gathered[name] = _read(name, given[name])
    return gathered


def _read(name: str, given: Any) -> Any:
    """Return a number where one or a word may stand."""
    option = all_options().get(name)
    if option is not None and option.each and isinstance(given, list):
        return given[0] if len(given) == 1 else given or None
    if option is None or not option.is_mixed or not isinstance(given, str) or given in option.words:
        return given
    try:
        return option.types[0](given)
    except ValueError:
        said = f"{name.replace('_', ' ')} {given!r} is unusable"
        raise InputError(f"{said}; give a number or {' or '.join(option.words)}.") from None
