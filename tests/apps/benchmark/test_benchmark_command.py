"""The command `benchmark`, and the one sentence with which it refuses a mistake."""

from __future__ import annotations

from pathlib import Path

import pytest
from run_cases import command, one_sentence

from monai_ddfm.apps.benchmark import Prior
from monai_ddfm.networks import ADMUNet
from monai_ddfm.networks.priors import save_prior


def test_the_command(
    pictures: Path, tmp_path: Path, small_prior: Prior, capfd: pytest.CaptureFixture[str]
) -> None:
    network = small_prior.network
    assert isinstance(network, ADMUNet)
    save_prior(network, tmp_path / "small.pt")
    status, out, _ = command(
        capfd,
        "benchmark",
        pictures,
        "--methods",
        "max,default:prior_share=0.5,default:prior=identity,as=none",
        "--steps",
        1,
        "--limit",
        1,
        "--noise",
        "gaussian:15",
        "--metrics",
        "EN,Qabf",
        "--prior",
        tmp_path / "small.pt",
        "--no-pictures",
        "-o",
        tmp_path / "out",
    )
    assert status == 0
    assert "none: better than max in" in out
    assert "gaussian noise of 15 of 255" in out
    assert out.startswith((tmp_path / "out" / "benchmark.txt").read_text(encoding="utf-8"))
    assert not (tmp_path / "out" / "pictures").exists()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--methods", "best"], "method 'best' is unknown"),
        (["--stretch", "maybe"], "use no, yes or both"),
        (["--metrics", "PI"], "metric 'PI' is unknown"),
        (["--noise", "salt"], "noise 'salt' is unknown"),
        (["--limit", "0"], "limit 0 is unusable"),
        (["--device", "warp"], "is not on this machine"),
        (["--convention", "mine"], "'mine' is unknown"),
        (["--prior", "none.pt"], "none.pt is not a file"),
    ],
)
def test_mistakes_end_in_one_sentence(
    pictures: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    given: list[str],
    words: str,
) -> None:
    status, out, err = command(capfd, "benchmark", pictures, "-o", tmp_path / "out", *given)
    assert status == 2
    assert words in one_sentence(err)
    assert out == ""
    assert not (tmp_path / "out").exists()
