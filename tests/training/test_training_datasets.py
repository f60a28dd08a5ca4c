from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image
from training_makers import head, save_heads, save_picture

from monai_ddfm.errors import InputError
from monai_ddfm.training import datasets
from monai_ddfm.training.datasets import RandomBatches, SliceDataset, seed_for_step
from monai_ddfm.training.slices import image_files, read_slices


def save_volume(path: Path, volume: np.ndarray, zooms: tuple[float, ...] = (1, 1, 1)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(volume, np.diag([*zooms[:3], 1.0])), path)
    return path


def ball(shape: tuple[int, int, int]) -> np.ndarray:
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij"))
    return (np.linalg.norm(grid, axis=0) < 0.8).astype(np.float32) * 900 + 20


def test_pictures_of_mixed_sizes_share_one_canvas(tmp_path: Path) -> None:
    image = head(40)
    save_picture(image, tmp_path / "a.png")
    save_picture(np.pad(head(64), [(0, 0), (10, 22)]), tmp_path / "deep" / "b.png")
    dataset = SliceDataset([{"folder": tmp_path, "pixel_mm": 1.5}], canvas=80)
    assert len(dataset) == 2
    for item, side in zip(dataset, (40, 96), strict=True):
        assert item["image"].shape == (1, 80, 80)
        assert item["image"].dtype == torch.uint8
        assert item["pixel_mm"] == pytest.approx(1.5 * side / 80)
        assert item["detail_mm"] == 1.5
    # The mean over the canvas is kept, and so is what is not resampled.
    assert float(dataset[0]["image"].float().mean()) == pytest.approx(255 * image.mean(), abs=1)
    plain = SliceDataset([{"folder": tmp_path}], canvas=40)[0]["image"]
    stored = (image * 255).round().astype(np.uint8)
    assert np.array_equal(plain[0].numpy(), stored)
    # As acquired, in the middle of the canvas.
    unscaled = dataset[0]["plain"][0].numpy()
    assert np.array_equal(unscaled[20:60, 20:60], stored)
    assert unscaled.sum() == stored.sum()
    cut = SliceDataset([{"folder": tmp_path}], canvas=32)[0]["plain"][0].numpy()
    assert np.array_equal(cut, stored[4:36, 4:36])


def test_resampling_equals_torch_bicubic(tmp_path: Path) -> None:
    rough = np.random.default_rng(0).random((50, 50)).astype(np.float32)
    save_picture(rough, tmp_path / "a.png")
    stored = np.asarray(Image.open(tmp_path / "a.png"), dtype=np.float32) / 255
    for canvas in (128, 32):
        item = SliceDataset([{"folder": tmp_path}], canvas=canvas)[0]
        expected = torch.nn.functional.interpolate(
            torch.from_numpy(stored)[None, None], (canvas, canvas), mode="bicubic", antialias=True
        ).clamp(0, 1)
        assert float((item["image"] - 255 * expected[0]).abs().max()) <= 0.51


def test_mosaics_are_cut_and_empty_tiles_left_out(tmp_path: Path) -> None:
    tiles = [head(32, seed=n) for n in range(3)] + [np.zeros((32, 32), np.float32)]
    save_picture(np.block([tiles[:2], tiles[2:]]), tmp_path / "m.png")
    found = list(read_slices(tmp_path, tile=32, pixel_mm=2.0))
    assert [size for _, size in found] == [2.0] * 3
    for (image, _), tile in zip(found, tiles, strict=False):
        assert np.abs(image - tile).max() <= 0.5 / 255 + 1e-6


def test_tiles_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = save_picture(head(40), tmp_path / "m.png")
    with pytest.raises(InputError, match=f"{path}: 40 x 40 pixels cannot be cut"):
        list(read_slices(tmp_path, tile=32))


def test_deep_pictures_use_their_whole_range(tmp_path: Path) -> None:
    image = head(48)
    Image.fromarray((image * 4095).astype(np.uint16)).save(tmp_path / "deep.tif")
    ((found, _),) = list(read_slices(tmp_path))
    assert found.max() == 1
    assert np.corrcoef(found.ravel(), image.ravel())[0, 1] > 0.99


def test_cubic_volumes_give_three_planes_and_thick_slices_one(tmp_path: Path) -> None:
    save_volume(tmp_path / "cubic.nii.gz", ball((20, 24, 28)))
    shapes = {image.shape for image, _ in read_slices(tmp_path)}
    assert shapes == {(24, 28), (20, 28), (20, 24)}
    (tmp_path / "cubic.nii.gz").unlink()
    save_volume(tmp_path / "thick.nii", ball((20, 24, 28)), (1, 1, 5))
    found = list(read_slices(tmp_path))
    assert {image.shape for image, _ in found} == {(20, 24)}
    assert {size for _, size in found} == {1.0}
    for image, _ in found:
        assert image.min() >= 0
        assert image.max() <= 1


def test_volumes_give_at_most_so_many_slices(tmp_path: Path) -> None:
    save_volume(tmp_path / "a.nii.gz", ball((20, 24, 28)))
    everything = len(list(read_slices(tmp_path)))
    assert everything > 30
    assert len(list(read_slices(tmp_path, slices_per_volume=7))) == 7


def test_a_trailing_axis_of_one_is_dropped(tmp_path: Path) -> None:
    save_volume(tmp_path / "a.nii.gz", ball((20, 20, 20))[..., None])
    assert list(read_slices(tmp_path))


def test_every_tenth_subject_is_held_out(tmp_path: Path) -> None:
    save_heads(tmp_path, count=23, size=16)
    save_picture(head(16), tmp_path / "subject09" / "another.png")
    train = image_files(tmp_path, part="train")
    val = image_files(tmp_path, part="val")
    assert sorted(train + val) == image_files(tmp_path)
    assert {path.parent.name for path in val} == {"subject09", "subject19"}
    assert not {path.parent for path in train} & {path.parent for path in val}


def test_few_subjects_hold_the_last_out(tmp_path: Path) -> None:
    save_heads(tmp_path, count=2, size=16)
    assert [path.parent.name for path in image_files(tmp_path, part="val")] == ["subject01"]
    (tmp_path / "subject01" / "slice.png").unlink()
    with pytest.raises(InputError, match=r"one subject, subject00.*--val_dir"):
        image_files(tmp_path, part="val")


def test_hidden_files_are_passed_over(tmp_path: Path) -> None:
    save_picture(head(32), tmp_path / "a.png")
    (tmp_path / "._a.png").write_bytes(b"resource fork")
    assert len(SliceDataset([{"folder": tmp_path}], canvas=32)) == 1


def test_repeated_slices_count_more_and_share_memory(tmp_path: Path) -> None:
    save_heads(tmp_path, count=2)
    dataset = SliceDataset([{"folder": tmp_path, "repeat": 3}], canvas=64)
    assert len(dataset) == 6
    assert dataset[0]["image"] is dataset[2]["image"]


def broken(folder: Path, kind: str) -> Path:
    """Put a file that cannot be used between good ones."""
    save_heads(folder, count=3)
    path = folder / "subject01" / ("slice.png" if "picture" in kind else "volume.nii.gz")
    if kind == "cut picture":
        path.write_bytes(path.read_bytes()[:-300])
    elif kind == "no picture":
        path.write_bytes(b"\x89PNG but not really")
    elif kind == "empty picture":
        path.write_bytes(b"")
    elif kind == "no volume":
        path.write_bytes(b"nothing")
    elif kind == "cut volume":
        save_volume(path, ball((20, 20, 20)))
        path.write_bytes(path.read_bytes()[:200])
    elif kind == "NaN volume":
        volume = ball((20, 20, 20))
        volume[3, 4, 5] = np.nan
        save_volume(path, volume)
    elif kind == "4-D volume":
        save_volume(path, np.stack([ball((20, 20, 20))] * 2, axis=-1))
    return path


@pytest.mark.parametrize(
    "kind",
    [
        "cut picture",
        "no picture",
        "empty picture",
        "no volume",
        "cut volume",
        "NaN volume",
        "4-D volume",
    ],
)
def test_one_bad_file_in_the_middle_is_named(tmp_path: Path, kind: str) -> None:
    path = broken(tmp_path, kind)
    with pytest.raises(InputError, match=f"^{path}: .*remove") as caught:
        SliceDataset([{"folder": tmp_path}])
    assert "\n" not in str(caught.value)


def test_folders_without_slices_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        SliceDataset([{"folder": tmp_path / "missing"}])
    with pytest.raises(InputError, match="no picture or NIfTI"):
        SliceDataset([{"folder": tmp_path}])
    save_picture(np.zeros((32, 32), np.float32), tmp_path / "black.png")
    save_volume(tmp_path / "constant.nii.gz", np.full((9, 9, 9), 7, np.float32))
    with pytest.raises(InputError, match="no slice with tissue"):
        SliceDataset([{"folder": tmp_path}])
    with pytest.raises(InputError, match="no option tiles"):
        SliceDataset([{"folder": tmp_path, "tiles": 3}])
    with pytest.raises(InputError, match="no source"):
        SliceDataset([])


def test_reading_a_mosaic_of_the_shared_data(shared: Path) -> None:
    folder = shared / "data" / "ixi_t1_axial" / "val"
    mosaic = min(folder.glob("*.webp"))
    grey = np.asarray(Image.open(mosaic).convert("L"))
    first = next(read_slices(folder, tile=128, pixel_mm=2.0))[0]
    tiles = grey.reshape(4, 128, -1, 128).transpose(0, 2, 1, 3).reshape(-1, 128, 128)
    assert any(np.array_equal(np.round(first * 255), tile) for tile in tiles)


def take(batches: RandomBatches, count: int) -> list[list[int]]:
    iterator = iter(batches)
    return [next(iterator) for _ in range(count)]


def random_batches(start: int = 0, *, seed: int = 0, length: int = 100) -> RandomBatches:
    counter = SimpleNamespace(iterations=start)
    return RandomBatches(list(range(length)), batch_size=4, counter=counter, seed=seed)  # type: ignore[arg-type]


def test_batches_depend_on_the_step_alone() -> None:
    six = take(random_batches(), 6)
    assert take(random_batches(3), 3) == six[3:]
    assert take(random_batches(seed=1), 6) != six
    assert len({tuple(batch) for batch in six}) == 6
    assert all(0 <= index < 100 for batch in six for index in batch)


def test_batches_cover_the_data() -> None:
    seen = {index for batch in take(random_batches(length=20), 60) for index in batch}
    assert seen == set(range(20))


def test_ranks_take_different_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    shares = []
    monkeypatch.setattr(datasets.ranks, "world_size", lambda: 2)
    for rank in range(2):
        monkeypatch.setattr(datasets.ranks, "rank", lambda rank=rank: rank)
        shares.append(take(random_batches(), 5))
    assert shares[0] != shares[1]
    assert all(len(batch) == 4 for share in shares for batch in share)


def test_batch_size_zero_is_refused() -> None:
    with pytest.raises(InputError, match="batch size 0"):
        RandomBatches([1], batch_size=0, counter=SimpleNamespace(iterations=0))  # type: ignore[arg-type]


def test_seeds_of_steps_and_ranks_are_all_different() -> None:
    seeds = {
        seed_for_step(seed, step, rank)
        for seed in range(4)
        for step in range(50)
        for rank in range(4)
    }
    assert len(seeds) == 4 * 50 * 4
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert seed_for_step(-1, 2) == seed_for_step(-1, 2)
