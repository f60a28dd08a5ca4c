"""The user's mistakes, found again below whatever wraps them."""

from __future__ import annotations

import pytest
from monai.transforms import Compose, Lambda

from monai_ddfm.errors import InputError, find_input_error

MISTAKE = InputError("t1.nii.gz is a photograph; give a volume.")


def caught(raise_it: object) -> BaseException:
    with pytest.raises(Exception) as info:  # noqa: PT011 - whatever comes is looked at
        raise_it()  # type: ignore[operator]
    return info.value


def mistake(*_: object) -> None:
    raise MISTAKE


def test_itself_and_nothing() -> None:
    assert find_input_error(MISTAKE) is MISTAKE
    assert find_input_error(None) is None
    assert find_input_error(ValueError("a bug")) is None
    assert issubclass(InputError, ValueError)


def test_a_mistake_is_found_below_what_monai_wraps_it_in() -> None:
    error = caught(lambda: Compose([Lambda(mistake)])(1))
    assert not isinstance(error, InputError)
    assert find_input_error(error) is MISTAKE


def test_below_an_error_while_handling_it() -> None:
    def clumsy() -> None:
        try:
            mistake()
        except InputError:
            int("x")

    assert find_input_error(caught(clumsy)) is MISTAKE


def test_a_hidden_context_is_no_cause() -> None:
    def bug() -> None:
        try:
            mistake()
        except InputError:
            raise RuntimeError("something else") from None

    assert find_input_error(caught(bug)) is None


def test_the_outermost_sentence_wins() -> None:
    def rephrase() -> None:
        try:
            mistake()
        except InputError as error:
            raise InputError("the fixed volume is a photograph; give an MRI.") from error

    found = find_input_error(caught(rephrase))
    assert str(found) == "the fixed volume is a photograph; give an MRI."


def test_a_circle_ends() -> None:
    one, other = RuntimeError("one"), RuntimeError("other")
    one.__cause__, other.__cause__ = other, one
    assert find_input_error(one) is None
