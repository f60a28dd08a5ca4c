"""Numbers that a training is given are checked, and each bad one ends in one sentence."""

from __future__ import annotations

import pytest

from monai_ddfm.errors import InputError
from monai_ddfm.training.options import check_count, check_rate, check_share


@pytest.mark.parametrize("count", [0, -3, 1.5, "many", None, True])
def test_what_is_no_count_is_refused(count: object) -> None:
    with pytest.raises(InputError, match=rf"val_interval is {count}; give a whole number, 1"):
        check_count("val_interval", count)


def test_counts_and_shares_within_range_pass() -> None:
    check_count("val_interval", 1)
    check_count("sample_interval", 0, least=0)
    check_rate("learning_rate", 1e-4)
    for share in (0, 0.5, 1):
        check_share("plain_share", share)


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan"), "half", None])
def test_what_is_no_share_is_refused(share: object) -> None:
    with pytest.raises(InputError, match=r"plain_share is .*; give a share from 0 to 1"):
        check_share("plain_share", share)


@pytest.mark.parametrize("rate", [0, -1e-4, float("nan"), float("inf"), 1e38, "fast", None])
def test_what_is_no_learning_rate_is_refused(rate: object) -> None:
    with pytest.raises(InputError, match=r"learning_rate is .*; give a number over 0"):
        check_rate("learning_rate", rate)
