"""Priors that cannot be used, and the commands for priors: one sentence, and nothing written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from refused_runs import everything_in
from run_cases import SMALL, command, one_sentence, randomize, saved_prior

from monai_ddfm.networks import ADMUNet
from monai_ddfm.networks.priors import save_prior


@pytest.fixture
def prior(tmp_path: Path) -> Path:
    return saved_prior(tmp_path)


def test_a_file_that_is_no_prior_is_refused(
    prior: Path, tmp_path: Path, refuse: Callable[..., str]
) -> None:
    assert "gone.pt" in refuse(prior=tmp_path / "gone.pt")
    assert str(tmp_path) in refuse(prior=tmp_path)
    content = prior.read_bytes()
    for length in (0, 10, len(content) // 2, len(content) - 1):
        prior.write_bytes(content[:length])
        assert str(prior) in refuse(prior=prior)
    prior.write_bytes(content)
    prior.with_suffix(".json").write_text("{}")
    assert "prior.json" in refuse(prior=prior)
    prior.with_suffix(".json").unlink()
    assert "sidecar" in refuse(prior=prior)


def test_a_prior_that_is_no_prior(tmp_path: Path, refuse: Callable[..., str]) -> None:
    page, weights = tmp_path / "page.pt", tmp_path / "linear.pt"
    page.write_text("<!DOCTYPE html><html>Sign in</html>")
    assert "web page" in refuse(prior=page)
    torch.save(torch.nn.Linear(2, 2).state_dict(), weights)
    assert str(weights) in refuse(prior=weights)


def test_weights_that_are_not_those_of_the_sidecar(prior: Path, refuse: Callable[..., str]) -> None:
    sidecar = prior.with_suffix(".json").read_text()
    save_prior(randomize(ADMUNet(**SMALL), seed=1), prior)
    prior.with_suffix(".json").write_text(sidecar)
    assert "describes other weights" in refuse(prior=prior)


def test_a_prior_command_without_a_prior_writes_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "notes.pt"
    text.write_text("no weights")
    for arguments in (
        ["info", tmp_path / "gone.pt"],
        ["info", text],
        ["convert", tmp_path / "gone.pt", tmp_path / "out.pt"],
        ["convert", text, tmp_path / "out.pt"],
        ["convert", text, tmp_path / "out.pt", "--dtype", "int8"],
        ["convert", text],
        ["melt", text],
    ):
        status, out, err = command(capfd, "prior", *arguments)
        assert status != 0
        assert out == ""
        one_sentence(err)
    assert everything_in(tmp_path) == {text}
