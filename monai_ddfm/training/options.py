"""Checks of the numbers that a training is given, each of which ends in one sentence."""

from __future__ import annotations

from monai_ddfm.errors import InputError

__all__ = ["check_count", "check_rate", "check_share"]

# The optimizer multiplies it in single precision, which ends at 3e38.
_LARGEST_RATE = 1e30


def check_count(name: str, count: object, *, least: int = 1) -> None:
    """Refuse what is not a whole number, or too small.

    Args:
        name: of the option, for the message.
        count: its value.
        least: smallest number allowed.

    Raises:
        InputError: if it is smaller or no whole number.
    """
    if not isinstance(count, int) or isinstance(count, bool) or count < least:
        raise InputError(f"{name} is {count}; give a whole number, {least} or more")


def check_rate(name: str, rate: object) -> None:
    """Refuse what is no learning rate.

    Args:
        name: of the option, for the message.
        rate: its value.

    Raises:
        InputError: if it is no number, not over 0, or too large to compute with.
    """
    if not isinstance(rate, int | float) or not 0 < rate <= _LARGEST_RATE:
        raise InputError(f"{name} is {rate}; give a number over 0, 0.0004 say")


def check_share(name: str, share: object) -> None:
    """Refuse what is not a number from 0 to 1.

    Args:
        name: of the option, for the message.
        share: its value.

    Raises:
        InputError: if it is out of range or no number.
    """
    if not isinstance(share, int | float) or not 0 <= share <= 1:
        raise InputError(f"{name} is {share}; give a share from 0 to 1")
