"""The average of priors: of their weights, whatever their depth, by the command too."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from run_cases import SMALL, command, one_sentence, randomize

from monai_ddfm.errors import InputError
from monai_ddfm.networks import ADMUNet
from monai_ddfm.networks.priors import averaged_prior, grown_prior, network_from_file, save_prior


def network(blocks: int = 1, **changes: object) -> ADMUNet:
    return randomize(ADMUNet(**{**SMALL, "num_res_blocks": blocks, **changes}))


@pytest.fixture
def priors(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{name}.pt" for name in ("first", "second", "third")]
    for seed, path in enumerate(paths):
        torch.manual_seed(seed)
        save_prior(network(), path)
    return paths


def test_every_weight_is_the_mean(priors: list[Path]) -> None:
    average = averaged_prior(priors).state_dict()
    states = [network_from_file(path).state_dict() for path in priors]
    assert all(average.keys() == state.keys() for state in states)
    for name, found in average.items():
        wanted = torch.stack([state[name].double() for state in states]).mean(0)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), wanted, rtol=1e-6, atol=1e-7)


def test_a_prior_with_itself_is_itself(priors: list[Path]) -> None:
    found = averaged_prior([priors[0]] * 3).state_dict()
    for name, value in network_from_file(priors[0]).state_dict().items():
        torch.testing.assert_close(found[name], value, rtol=1e-6, atol=1e-8)


def test_a_shallower_prior_grows(priors: list[Path], tmp_path: Path) -> None:
    deep = tmp_path / "deep.pt"
    save_prior(grown_prior(network(2), priors[0]), deep)
    images = torch.rand(2, 1, 16, 16) * 2 - 1
    with torch.no_grad():
        found = averaged_prior([priors[0], deep])(images, 100)
        wanted = network_from_file(priors[0])(images, 100)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    with pytest.raises(InputError, match="deep"):
        averaged_prior([deep, priors[0]])


def test_what_has_no_average(priors: list[Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="two or more"):
        averaged_prior(priors[:1])
    other = tmp_path / "other.pt"
    save_prior(network(prediction_type="sample"), other)
    with pytest.raises(InputError, match="other"):
        averaged_prior([other, priors[0]])
    save_prior(network(channels=(64, 64)), other)
    for pair in ([priors[0], other], [other, priors[0]]):
        with pytest.raises(InputError, match=r"has channels .*average priors of the same channels"):
            averaged_prior(pair)


def test_the_command_averages_files_and_refuses_in_one_sentence(
    priors: list[Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "average.pt"
    status, said, err = command(capfd, "prior", "average", *priors, "--output", out)
    assert (status, err) == (0, "")
    assert "parameters" in said
    wanted = averaged_prior(priors).state_dict()
    for name, value in network_from_file(out).state_dict().items():
        torch.testing.assert_close(value, wanted[name], rtol=1e-3, atol=1e-6)
    gone = tmp_path / "gone.pt"
    status, _, err = command(capfd, "prior", "average", gone, priors[0], "--output", out)
    assert status == 2
    assert "gone.pt" in one_sentence(err)
    status, _, err = command(capfd, "prior", "average", *priors, "--output", out, "--dtype", "int8")
    assert status == 2
    assert "'int8'" in one_sentence(err)
