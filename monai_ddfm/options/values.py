"""Values of options judged by what is declared of them, before anything heavy is loaded.

What uses an option judges it too, for those who call it directly. Here a run that cannot succeed
ends at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from monai_ddfm.errors import InputError
from monai_ddfm.options import all_options
from monai_ddfm.options.fields import Option

__all__ = ["EVALUATED", "check_values", "refuse_evaluated", "texts_in"]

EVALUATED = ("$", "@", "%")
"""With these begins what MONAI evaluates or resolves."""


def check_values(options: Mapping[str, Any]) -> None:
    """Refuse values that MONAI would evaluate, or that are not among those declared.

    Args:
        options: values by name; None and unknown names are passed over.

    Raises:
        InputError: naming the option and what may be given.
    """
    for name, value in options.items():
        refuse_evaluated(name, value)
        option = all_options().get(name)
        if option is not None and (fault := _fault(option, value)):
            raise InputError(f"{name.replace('_', ' ')} {value!r} is {fault}.")


def refuse_evaluated(name: str, value: Any) -> None:
    """Refuse a value that MONAI would evaluate as Python or resolve as a reference.

    Args:
        name: of the option.
        value: looked at at any depth.

    Raises:
        InputError: naming the option and the text.
    """
    for text in texts_in(value):
        if text.startswith(EVALUATED):
            raise InputError(
                f"the value {text!r} of option {name!r} begins with {text[0]!r}, which MONAI "
                "would evaluate; write a path in full."
            )


def texts_in(value: Any) -> Iterator[str]:
    """Yield the texts and paths of a value, keys included, at any depth."""
    waiting = deque([value])
    while waiting:
        one = waiting.popleft()
        if isinstance(one, str | Path):
            yield str(one)
        elif isinstance(one, Mapping | list | tuple | set):
            waiting += [*one, *one.values()] if isinstance(one, Mapping) else one


def _fault(option: Option, value: Any) -> str:
    """Say what is wrong and what may be given instead, "" for a value that is declared."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        fits = not option.is_number or option.holds(value)
        return "" if fits else f"unusable; give {option.range}"
    if isinstance(value, str) and option.only_words and value.strip().lower() not in option.words:
        return f"unknown; use {', '.join(option.words)}"
    return ""
