"""Fusion of pictures, from Python and from the command line, with the bundle's own prior."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from run_cases import command, one_sentence

from monai_ddfm.apps.demo.pictures import PicturePair, make_picture_pair
from monai_ddfm.data.readers import read_picture
from monai_ddfm.errors import InputError
from monai_ddfm.inferers import DDFMInferer
from monai_ddfm.metrics import hue_error
from monai_ddfm.networks import priors as checkpoints
from monai_ddfm.networks.priors import network_from_file
from monai_ddfm.options import options_of
from monai_ddfm.utils.color import luminance
from monai_ddfm.utils.files import NOTICE
from monai_ddfm.utils.hashes import sha256_of
from monai_ddfm.workflow.bundle_files import bundle_root
from monai_ddfm.workflow.pictures import fuse_pictures


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> PicturePair:
    return make_picture_pair(tmp_path_factory.mktemp("street"), width=72, height=56)


def levels(path: Path) -> torch.Tensor:
    return torch.from_numpy(read_picture(path).levels)


def test_the_visible_image_keeps_its_colors_and_nothing_is_invented(
    street: PicturePair, tmp_path: Path
) -> None:
    output = tmp_path / "new folder" / "fused.png"
    (result,) = fuse_pictures(
        street.visible, street.infrared, modality="IR", output=output, steps=2, weight=True
    )
    assert result.picture == output
    fused, visible, infrared = (levels(p) for p in (output, street.visible, street.infrared))
    assert float(hue_error(fused[None], visible[None])) < 1.0
    gray, sources = luminance(fused, dim=0), torch.cat([luminance(visible, dim=0), infrared])
    rounding = 1.01 / 255
    assert bool((gray >= sources.amin(0) - rounding).all())
    assert bool((gray <= sources.amax(0) + rounding).all())
    share = levels(tmp_path / "new folder" / "fused_weight.png")[0]
    assert float(share.min()) < 0.1
    assert float(share.max()) > 0.9


def test_the_record_says_how_it_came_to_be(street: PicturePair, tmp_path: Path) -> None:
    output = tmp_path / "fused.tif"
    fuse_pictures(street.visible, street.infrared, modality="ir", output=output, steps=1, seed=7)
    record = json.loads(output.with_suffix(".json").read_text(encoding="utf-8"))
    assert record["notice"] == NOTICE
    assert record["inputs"]["fixed"]["sha256"] == sha256_of(street.visible)
    assert record["inputs"]["moving"]["path"] == str(street.infrared)
    recorded = {name for name, option in options_of("fuse-2d").items() if option.recorded}
    assert recorded <= record["options"].keys()
    assert record["options"]["modality"] == "IR"
    assert record["options"]["seed"] == 7
    assert record["options"]["steps"] == 1
    assert record["outputs"]["fused.tif"]["sha256"] == sha256_of(output)
    assert record["bound"]["largest"] <= 1e-6
    assert record["prior"]["sha256"] == sha256_of(bundle_root() / "models" / "model.pt")


def test_the_likelihood_of_pictures_can_be_chosen_and_their_noise_is_in_the_record(
    street: PicturePair, tmp_path: Path
) -> None:
    noisy = []
    for path in (street.visible, street.infrared):
        plain = read_picture(path).levels
        grain = np.random.default_rng(3).normal(0, 0.08, plain.shape[-2:])
        levels = np.rint(np.clip(plain + grain, 0, 1) * 255).astype(np.uint8)
        noisy.append(tmp_path / f"noisy {len(noisy)}.png")
        picture = levels[0] if len(levels) == 1 else np.moveaxis(levels, 0, -1)
        Image.fromarray(picture).save(noisy[-1])
    asked = {"prior_share": 0.2, "fidelity": 0.7, "noise_margin": 1.5, "favor_moving": 9.0}
    plain, own = tmp_path / "plain.png", tmp_path / "own.png"
    fuse_pictures(*noisy, modality="IR", output=plain, steps=2)
    fuse_pictures(*noisy, modality="IR", output=own, steps=2, **asked)
    records = [json.loads(p.with_suffix(".json").read_text("utf-8")) for p in (plain, own)]
    assert not np.array_equal(read_picture(plain).levels, read_picture(own).levels)
    assert {name: records[1]["options"][name] for name in asked} == asked
    assert all(records[0]["options"][name] is None for name in asked)
    for record in records:
        (noise,) = record["reports"]["noise"].values()
        assert noise["at_black"] > 0


def test_several_samples_tell_their_spread(street: PicturePair, tmp_path: Path) -> None:
    options = {"modality": "IR", "weight": True, "preset": "reference", "steps": 2}
    for samples in (1, 3):
        output = tmp_path / f"of {samples}.png"
        fuse_pictures(street.visible, street.infrared, output=output, samples=samples, **options)
    assert not (tmp_path / "of 1_std.png").exists()
    spread, bits = read_picture(tmp_path / "of 3_std.png")
    assert bits == 16
    assert 0 < spread.mean() < 0.2
    stability = levels(tmp_path / "of 3_weight_stability.png")
    assert 0.5 < float(stability.mean()) <= 1
    record = json.loads((tmp_path / "of 3.json").read_text(encoding="utf-8"))
    assert set(record["outputs"]) == {
        f"of 3{end}.png" for end in ("", "_std", "_weight", "_weight_stability")
    }


def test_the_result_is_that_of_the_inferer(street: PicturePair, tmp_path: Path) -> None:
    deep = (np.random.default_rng(0).random((40, 48)) * 65535).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    plain = np.linspace(0, 255, 40 * 48).reshape(40, 48).astype(np.uint8)
    Image.fromarray(plain).save(tmp_path / "plain.png")
    fuse_pictures(
        tmp_path / "plain.png",
        tmp_path / "deep.png",
        modality="CT",
        output=tmp_path / "f.png",
        steps=2,
        preset="reference",
        device="cpu",
    )
    sources = torch.stack([torch.from_numpy(plain / 255), torch.from_numpy(deep / 65535)])
    network = network_from_file(bundle_root() / "models" / "model.pt")
    expected = DDFMInferer(preset="reference", steps=2)(sources[None].float() * 2 - 1, network)
    found, bits = read_picture(tmp_path / "f.png")
    assert bits == 16
    wanted = ((expected[0, :1] + 1) / 2).clamp(0, 1)
    np.testing.assert_allclose(found, wanted, atol=0.51 / 65535 + 1e-6)


def test_two_folders_are_fused_with_one_prior_as_one_by_one(
    street: PicturePair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, size in (("first", (64, 48)), ("second", (40, 56))):
        made = make_picture_pair(tmp_path / name, width=size[0], height=size[1], seed=len(name))
        for path in (made.visible, made.infrared):
            target = tmp_path / path.parent.name / f"{name}.png"
            target.parent.mkdir(exist_ok=True)
            path.rename(target)
    loads = []
    real = checkpoints.load_prior

    def counted(*args: Any, **options: Any) -> Any:
        loads.append(options.get("path"))
        return real(*args, **options)

    monkeypatch.setattr(checkpoints, "load_prior", counted)
    options: dict[str, Any] = {"modality": "IR", "steps": 1}
    results = fuse_pictures(
        tmp_path / "VIS", tmp_path / "IR", output=tmp_path / "together", **options
    )
    assert len(loads) == 1
    assert [result.picture.name for result in results] == ["first.png", "second.png"]
    for result in results:
        name = result.picture.name
        alone = tmp_path / "alone" / name
        fuse_pictures(tmp_path / "VIS" / name, tmp_path / "IR" / name, output=alone, **options)
        np.testing.assert_array_equal(read_picture(alone).levels, read_picture(result.picture)[0])
        record = json.loads(result.record.read_text(encoding="utf-8"))
        assert Path(record["inputs"]["fixed"]["path"]).name == name


def test_the_command_fuses(
    street: PicturePair, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = command(
        capfd,
        "fuse-2d",
        street.visible,
        street.infrared,
        "--modality",
        "IR",
        "--output",
        tmp_path / "f.jpg",
        "--steps",
        1,
        "--prior-share",
        0.3,
        "--fidelity",
        0.9,
        "--noise-margin",
        1,
        "--favor-moving",
        2,
    )
    assert status == 0
    record = json.loads((tmp_path / "f.json").read_text(encoding="utf-8"))
    assert record["options"]["favor_moving"] == 2
    assert record["options"]["noise_margin"] == 1
    assert str(tmp_path / "f.jpg") in out
    assert NOTICE in out
    with Image.open(tmp_path / "f.jpg") as opened:
        assert (opened.format, opened.size, opened.mode) == ("JPEG", (72, 56), "RGB")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"--modality": "MR"}, "use CT, PET, SPECT or IR"),
        ({"--output": "f.bmp"}, "is no name for a picture"),
        ({"--preset": "best"}, "preset 'best' is unknown"),
        ({"--device": "warp"}, "is not on this machine"),
        ({"--steps": "0"}, "steps"),
        ({"--output": " "}, "empty"),
    ],
)
def test_mistakes_end_in_one_sentence_and_leave_nothing(
    street: PicturePair,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    changed: dict[str, str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    options = {"--modality": "IR", "--output": "f.png", "--steps": "1"} | changed
    given = [word for option in options.items() for word in option]
    status, out, err = command(capfd, "fuse-2d", street.visible, street.infrared, *given)
    assert status == 2
    assert words in one_sentence(err)
    assert out == ""
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_picture_is_refused(street: PicturePair, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(street.infrared.read_bytes()[:500])
    with pytest.raises(InputError, match=r"bad\.png is damaged"):
        fuse_pictures(
            street.visible, tmp_path / "bad.png", modality="IR", output=tmp_path / "f.png", steps=1
        )
    assert [path.name for path in tmp_path.iterdir()] == ["bad.png"]


def test_the_demo_of_pictures(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    status, out, _ = command(capfd, "demo", "--modality", "ir", "-o", tmp_path, "--steps", 1)
    assert status == 0
    for name in ("subject/VIS/street.png", "subject/IR/street.png", "fused.png", "fused.json"):
        assert (tmp_path / name).is_file()
        assert str(tmp_path / name) in out


def test_the_configuration_amends_that_of_volumes() -> None:
    """Only what is different for pictures is written down again."""
    folder = bundle_root() / "configs"
    amended = json.loads((folder / "pictures.json").read_text(encoding="utf-8"))
    whole = json.loads((folder / "inference.json").read_text(encoding="utf-8"))
    assert {"network", "network_def", "inferer", "evaluator", "run_record"}.isdisjoint(amended)
    recorded = {name for name, option in options_of("fuse-2d").items() if option.recorded}
    assert recorded <= set(whole) | set(amended)
