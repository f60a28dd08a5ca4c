"""Compressed volumes: what is damaged is refused, whoever has packed the rest is read."""

from __future__ import annotations

import gzip
import random
import re
import zlib
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_ddfm.data.readers import read_volume
from monai_ddfm.data.readers.packed import check_packed
from monai_ddfm.errors import InputError

VALUES = np.random.default_rng(0).integers(0, 500, (20, 22, 18)).astype(np.float32)
NAMES = ("a.nii.gz", "a.mgz", "a.mha", "a.mhd", "a.nrrd", "a.nhdr", "a.img.gz")


def saved(folder: Path, name: str) -> Path:
    """The volume in a file of that name; returns the file that holds what is packed."""
    path = folder / name
    if name == "a.mgz":
        nib.save(nib.MGHImage(VALUES, np.diag([2, 2, 2, 1])), path)
    elif name == "a.img.gz":
        nib.save(nib.Nifti1Pair(VALUES, np.diag([2, 2, 2, 1])), path)
    elif name == "a.nii.gz":
        nib.save(nib.Nifti1Image(VALUES, np.diag([2, 2, 2, 1])), path)
    else:
        sitk.WriteImage(sitk.GetImageFromArray(VALUES.T), path, useCompression=True)
    return {".mhd": folder / "a.zraw", ".nhdr": folder / "a.raw.gz"}.get(path.suffix, path)


def read(path: Path) -> np.ndarray:
    return read_volume(path, modality="PET", allow_unknown_geometry=True).array[0]


def refusal(path: Path) -> str:
    """What was said; nothing where it was read, and then it is the volume."""
    try:
        np.testing.assert_array_equal(read(path), VALUES)
    except InputError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", NAMES)
def test_a_flipped_bit_is_refused_or_changes_nothing(name: str, tmp_path: Path) -> None:
    packed = saved(tmp_path, name)
    content, chance = packed.read_bytes(), random.Random(3)
    np.testing.assert_array_equal(read(tmp_path / name), VALUES)
    refusals = 0
    for _ in range(8):
        changed = bytearray(content)
        changed[chance.randrange(len(content) // 2, len(content))] ^= 1 << chance.randrange(8)
        packed.write_bytes(changed)
        said = refusal(tmp_path / name)
        assert not said or re.search(r"is damaged: its compressed voxels|CRC check failed", said)
        refusals += bool(said)
    assert refusals >= 6
    packed.write_bytes(content[:-3])
    with pytest.raises(InputError, match="they end early"):
        read(tmp_path / name)


@pytest.mark.parametrize(
    "pack",
    [
        lambda data: gzip.compress(data[:3000]) + gzip.compress(data[3000:]),
        lambda data: gzip.compress(data) + b"\0" * 512,  # as tapes pad
        lambda data: gzip.compress(data) + gzip.compress(b"") + b"what is no gzip",
        lambda data: gzip.compress(data + bytes(5000)),
        lambda data: b"".join(
            gzip.compress(data[k : k + 999]) for k in range(0, len(data), 999)
        ),  # blocked, as bgzip packs
    ],
)
def test_whoever_has_packed_it_it_is_read(pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = saved(tmp_path, "a.nii.gz")
    path.write_bytes(pack(gzip.decompress(path.read_bytes())))
    np.testing.assert_array_equal(read(path), VALUES)


@pytest.mark.parametrize("skipped", ["line skip: 2", "byte skip: 7"])
def test_what_an_nrrd_skips_is_skipped_in_its_order(skipped: str, tmp_path: Path) -> None:
    """Lines before unpacking, bytes after."""
    before, after = (b"one\ntwo\n", b"") if "line" in skipped else (b"", b"1234567")
    (tmp_path / "a.gz").write_bytes(before + gzip.compress(after + VALUES.T.tobytes()))
    (tmp_path / "a.nhdr").write_text(
        "NRRD0004\ntype: float\ndimension: 3\nsizes: 20 22 18\nspacings: 2 2 2\n"
        f"endian: little\nencoding: gzip\n{skipped}\ndata file: a.gz\n"
    )
    np.testing.assert_array_equal(read(tmp_path / "a.nhdr"), VALUES)


@settings(max_examples=30, deadline=None)
@given(
    parts=st.lists(st.binary(max_size=3000), min_size=1, max_size=4),
    place=st.integers(0, 10**6),
    bit=st.integers(0, 7),
)
def test_one_bit_of_a_checksum_is_enough(parts, place, bit, tmp_path_factory) -> None:
    path = tmp_path_factory.mktemp("packed") / "a.gz"
    content = bytearray(b"".join(map(gzip.compress, parts)))
    path.write_bytes(content)
    size = sum(map(len, parts))
    check_packed(path, path, claimed=size)
    content[-8 + place % 8] ^= 1 << bit
    path.write_bytes(content)
    if parts[-1]:  # where the last member holds nothing it may be left unread
        with pytest.raises(InputError, match="is damaged"):
            check_packed(path, path, claimed=size)


def test_what_lies_far_behind_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.gz"
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    block = bytes(2**22)
    path.write_bytes(b"".join(packer.compress(block) for _ in range(5)))  # 20 MiB, and no end
    monkeypatch.setattr("monai_ddfm.data.readers.packed._BEHIND", 2**23)
    check_packed(path, path, claimed=1000)
    with pytest.raises(InputError, match="end early"):
        check_packed(path, path, claimed=5 * 2**22)
