"""A plain loop agrees with ours, its figures add up, its command writes them."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from run_cases import RecordingNet, command, demo_subject, one_sentence
from torch import nn

from monai_ddfm.apps.speed import (
    SpeedBenchmarkOptions,
    benchmark_speed,
    machine,
    scan,
    write_speed_benchmark,
)
from monai_ddfm.apps.speed.costs import NetworkCost, network_cost, on_other_devices
from monai_ddfm.apps.speed.machine import Stopwatch, TimedNetwork, arithmetic_peak
from monai_ddfm.apps.speed.plain import plain_loop
from monai_ddfm.apps.speed.scan import scan_sizes, time_stages
from monai_ddfm.apps.speed.subjects import RANDOM_PRIORS, network_named, synthetic_volume
from monai_ddfm.inferers import DDFMInferer
from monai_ddfm.networks import ADMUNet
from monai_ddfm.networks.priors import save_prior
from monai_ddfm.networks.schedulers import NoiseSchedule

CPU = torch.device("cpu")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("predicts", ["epsilon", "v_prediction", "sample"])
def test_the_plain_loop_is_our_reference(channels: int, predicts: str) -> None:
    network = RecordingNet(in_channels=channels, out_channels=channels, prediction_type=predicts)
    volume = synthetic_volume(32, 3)
    inferer = DDFMInferer(preset="reference", steps=6, crop_foreground=False)
    ours = inferer(volume[None], network)[0, 0]
    start = inferer.sampling_noise.start([0], (channels, 32, 32), CPU)
    for number in range(3):
        plain = plain_loop(
            volume[..., number], network, schedule=NoiseSchedule.spaced(6), start=start
        )
        torch.testing.assert_close(plain, ours[..., number], rtol=0, atol=1e-3)
    assert float((ours - volume.mean(0)).abs().max()) > 1e-2  # more than an average


@contextmanager
def small_products() -> Iterator[None]:
    """The peak is measured in small products, for a CPU without bfloat16 is slow in large ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(machine._SIDES, "cpu", 64)
        patch.setitem(machine._BATCHES, "cpu", 1)
        yield


@pytest.fixture(scope="module")
def result() -> dict[str, Any]:
    options = SpeedBenchmarkOptions(steps=3, speeds=("fast",), bfloat16=True)
    with small_products():
        return benchmark_speed(synthetic_volume(32, 4), RecordingNet(), options)


def test_the_plain_loop_and_ours_agree_in_work_and_result(result: dict[str, Any]) -> None:
    rows = {row["way"]: row for row in result["rows"]}
    assert list(rows) == [
        "plain loop, float32",
        "same frame, float32",
        "reference, float32",
        "fast, float32",
        "same frame, bfloat16",
        "reference, bfloat16",
        "fast, bfloat16",
    ]
    plain, same = rows["plain loop, float32"], rows["same frame, float32"]
    assert plain["evaluations"] == same["evaluations"] == 4 * 3
    assert plain["operations"] == same["operations"]
    assert plain["times plain"] == 1
    assert same["largest difference from plain"] < 1e-3
    assert 1e-6 < rows["same frame, bfloat16"]["largest difference from plain"] < 0.1
    assert rows["reference, float32"]["operations"] <= same["operations"]
    for row in rows.values():
        assert row["slices per second"] == pytest.approx(4 / row["seconds"])
        assert row["times plain"] == pytest.approx(plain["seconds"] / row["seconds"])
        assert 0 < row["network share"] < 1
        assert 0 <= row["rectifier share"] < 1
        assert row["share of peak in network"] > 0
        assert row["peak bytes"] > 1e7


def test_rows_are_written_as_json_table_and_picture(result: dict[str, Any], tmp_path: Path) -> None:
    write_speed_benchmark(result, tmp_path / "new")
    stored = json.loads((tmp_path / "new" / "benchmark-speed.json").read_text())
    assert [row["way"] for row in stored["rows"]] == [row["way"] for row in result["rows"]]
    table = (tmp_path / "new" / "benchmark-speed.md").read_text()
    assert "| same frame, float32 |" in table
    assert "predicted s" in table
    assert (tmp_path / "new" / "benchmark-speed.png").read_bytes().startswith(b"\x89PNG")


def test_operations_are_those_of_the_layers() -> None:
    network = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.SiLU(), nn.Conv2d(8, 1, 1))

    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network

        def forward(self, x: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
            return self.inner(x)

    cost = network_cost(Plain(), (16, 24))
    pixels = 16 * 24
    assert cost.operations == 2 * pixels * (8 * 9 + 8)
    assert cost.weights == 8 * 9 + 8 + 8 + 1
    assert cost.features == pixels * ((1 + 8) + (8 + 8) + (8 + 1))
    assert cost.moved(bytes_per_value=2, batch=4) == 2 * (89 / 4 + cost.features)


def test_devices_on_paper() -> None:
    heavy = NetworkCost(size=(1, 1), operations=10**12, weights=10, features=10)
    light = NetworkCost(size=(1, 1), operations=10, weights=10, features=10**9)
    for cost, bound in ((heavy, "arithmetic"), (light, "memory")):
        rows = on_other_devices(cost, evaluations=10, slices=20, share=0.5)
        assert {row["bound by"] for row in rows} == {bound}
    first = on_other_devices(heavy, evaluations=10, slices=20, share=0.5)[0]
    assert first["seconds per volume"] == pytest.approx(1e12 * 200 / (989e12 * 0.5))
    assert first["hours for 10,000"] == pytest.approx(first["seconds per volume"] / 0.36)


def test_a_stopwatch_adds_up() -> None:
    watch = Stopwatch(CPU)
    network = TimedNetwork(RecordingNet(prediction_type="sample"), watch)
    assert network.prediction_type == "sample"
    for _ in range(3):
        with watch.block("rest"):
            time.sleep(0.02)
    network(torch.zeros(2, 1, 8, 8), torch.zeros(1))
    seconds = watch.seconds()
    assert 0.06 <= seconds["rest"] < 2
    assert seconds["network"] > 0
    assert network.images == [(2, (1, 8, 8))]


def test_the_arithmetic_peak_is_plausible() -> None:
    assert 1e9 < arithmetic_peak(CPU, torch.float32, repeats=1) < 1e14


def test_the_published_architecture_has_its_size() -> None:
    with torch.device("meta"):
        network = ADMUNet(**RANDOM_PRIORS["imagenet-256"])  # type: ignore[arg-type]
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(552.8e6, rel=1e-3)


def test_the_command_measures_a_given_prior(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    prior = tmp_path / "small.pt"
    save_prior(RecordingNet(), prior)
    arguments = ["--size", 32, "--slices", 2, "--steps", 2, "--speeds", "fast", "--prior", prior]
    arguments += ["--parts", ""]
    arguments += ["--no-bfloat16", "-o", tmp_path / "out"]
    with small_products():
        status, out, _ = command(capfd, "benchmark-speed", *arguments)
    assert status == 0
    assert "| plain loop, float32 |" in out
    assert "bfloat16" not in out
    rows = json.loads((tmp_path / "out" / "benchmark-speed.json").read_text())["rows"]
    assert [row["way"] for row in rows][-1] == "fast, float32"
    assert all(math.isfinite(row["seconds"]) for row in rows)


class CountingNet(RecordingNet):
    """A network by whose calls a clock goes."""

    calls = 0

    def forward(self, x, timesteps, context=None):  # type: ignore[no-untyped-def]
        self.calls += 1
        return super().forward(x, timesteps, context)


@pytest.mark.usefixtures("one_thread")
def test_sizes_types_and_batches(
    result: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = CountingNet()
    monkeypatch.setattr(scan, "perf_counter", lambda: float(network.calls))
    monkeypatch.setattr(scan, "_REPEATS", 1)  # by this clock all are equal
    rows = scan_sizes(network, CPU, sizes=(16, 24), batches=(1, 2), bfloat16=True)
    found = [(row["size"], row["dtype"], row["batch"]) for row in rows]
    types = ("float32", "bfloat16")
    assert found == [
        (size, dtype, batch) for size in (16, 24) for dtype in types for batch in (1, 2)
    ]
    for row in rows:
        # A CPU takes slices one by one.
        assert row["slices per second"] == 1
        assert row["seconds per slice-step"] == 1
        assert 0 < row["network share"] <= 1
    write_speed_benchmark({**result, "sizes": rows}, tmp_path)
    assert "| 24 x 24 | bfloat16 | 2 |" in (tmp_path / "benchmark-speed.md").read_text()


def test_a_whole_run_by_stages(result: dict[str, Any], tmp_path: Path) -> None:
    prior = tmp_path / "small.pt"
    save_prior(RecordingNet(), prior)
    subject = demo_subject(tmp_path)
    stages = time_stages(subject.fixed, subject.moving, device=CPU, prior=prior)
    assert {"loading", "registration", "intensity", "sampling", "color", "writing"} < set(stages)
    parts = sum(spent for stage, spent in stages.items() if stage != "total")
    assert parts == pytest.approx(stages["total"], rel=0.05)
    write_speed_benchmark({**result, "stages": stages}, tmp_path / "out")
    assert "| sampling | " in (tmp_path / "out" / "benchmark-speed.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--speeds", "slow"], "'slow'"),
        (["--slices", 0], "slices 0"),
        (["--size", 4], "size 4"),
        (["--steps", 1], "steps 1"),
        (["--random-prior", "huge"], "'huge'"),
        (["--parts", "sizes,all"], "'all'"),
        (["--device", "cuda:9"], "cuda:9"),
    ],
)
def test_a_measurement_that_cannot_be_is_refused(
    arguments: list[Any], words: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    status, _, err = command(capfd, "benchmark-speed", *arguments, "-o", tmp_path)
    assert status == 2
    assert words in one_sentence(err)


def test_random_weights_all_take_part(monkeypatch: pytest.MonkeyPatch) -> None:
    small = {**RANDOM_PRIORS["imagenet-256"], "channels": (32, 32), "num_head_channels": 32}
    small |= {"attention_levels": (False, True)}
    monkeypatch.setitem(RANDOM_PRIORS, "small", small)
    network = network_named(None, "small", CPU)
    assert all(bool(p.any()) for p in network.parameters())
