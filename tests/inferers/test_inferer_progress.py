"""The inferer tells how far it is: in figures, in a bar, in a log."""

from __future__ import annotations

import itertools
import logging

import pytest
import torch
from inferer_makers import from_noise, uniform
from run_cases import RecordingNet

from monai_ddfm.inferers import LogProgress, SamplingProgress, TqdmProgress


@pytest.mark.parametrize(("batch_size", "batches"), [(2, [2, 2, 1]), (5, [5]), (9, [5])])
def test_progress_figures(batch_size: int, batches: list[int], small: RecordingNet) -> None:
    seen: list[SamplingProgress] = []
    volume = torch.cat((uniform(1, 1, 2, 8, 8, 5), torch.full((1, 2, 8, 8, 2), -1.0)), dim=-1)
    volume[..., 0, 0, :] = -1.0
    from_noise(steps=3, batch_size=batch_size, progress=seen.append)(volume, small)
    expected = [
        SamplingProgress(done, size, 5, step, 3)
        for done, size in zip(itertools.accumulate([0, *batches]), batches, strict=False)
        for step in (1, 2, 3)
    ]
    assert seen == expected


def test_progress_counts_the_steps_of_a_warm_start(small: RecordingNet) -> None:
    seen: list[SamplingProgress] = []
    pair = uniform(1, 1, 2, 8, 8)
    from_noise(steps=10, start_timestep=400, progress=seen.append)(pair, small)
    assert [(p.step, p.steps) for p in seen] == [(step, 4) for step in (1, 2, 3, 4)]


def test_a_bar_that_ends(small: RecordingNet, capsys: pytest.CaptureFixture[str]) -> None:
    inferer = from_noise(steps=2, batch_size=2, progress=TqdmProgress("mixing", disable=False))
    for _ in range(2):  # it can be used again
        inferer(uniform(1, 2, 2, 8, 8, 3), small)
    shown = capsys.readouterr().err
    assert "mixing: 100%" in shown
    assert shown.count("\n") == 4  # a bar for each volume, and every one is closed
    from_noise(steps=1, progress=TqdmProgress())(uniform(1, 1, 2, 8, 8), small)
    assert capsys.readouterr().err == ""  # there is no terminal


def test_a_log_tells_every_tenth_once(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("monai_ddfm.tests")
    tell = LogProgress("head", logger)
    with caplog.at_level(logging.INFO, logger=logger.name):
        for step in range(1, 41):
            tell(SamplingProgress(0, 1, 1, step, 40))
    told = [f"head: {percent} % of the sampling" for percent in range(10, 101, 10)]
    assert caplog.messages == told
