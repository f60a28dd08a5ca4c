"""The one kind of error that a user can mend, and the stop that a user asked for.

Everything a user can get wrong (a missing file, a constant image, a checkpoint of another
architecture) is raised as `InputError` with one sentence that names the file and the mend. MONAI
wraps exceptions of transforms and of configured components in its own; `find_input_error` looks
through those wrappings, so that every face of the program prints the sentence and not a traceback.
"""

from __future__ import annotations

__all__ = ["InputError", "StoppedError", "find_input_error", "printable"]


def printable(text: str) -> str:
    """Return a text on one line in which nothing commands a terminal: names may hold anything."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


class InputError(ValueError):
    """What was given cannot be used; the message is one sentence that says what to do about it."""

    def __str__(self) -> str:
        """Return the sentence on one line, see `printable`."""
        return printable(super().__str__())


class StoppedError(Exception):
    """Ctrl-C stopped the work; the message is one sentence that says how to go on."""


def find_input_error(error: BaseException | None) -> InputError | None:
    """Return the `InputError` that caused `error`, or None if the fault is not the user's.

    Args:
        error: any exception; its ``__cause__`` and ``__context__`` chain is followed, as far as a
            traceback would show it.

    Returns:
        The outermost `InputError` of the chain, which knows most about what was asked for, or None.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, InputError):
            return error
        seen.add(id(error))
        hidden = error.__cause__ is None and error.__suppress_context__
        error = None if hidden else error.__cause__ or error.__context__
    return None
