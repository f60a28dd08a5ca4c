"""Files that claim what they do not hold, and files that crash the libraries that read them."""

from __future__ import annotations

import gzip
import json
import resource
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import torch
from hostile_files import metaimage, mgh, nifti, nrrd, zeros
from PIL import Image
from pydicom.encaps import encapsulate
from run_cases import saved_prior
from seeds import dicom

from monai_ddfm.data.readers import read_picture, read_volume
from monai_ddfm.data.readers.dicom_files import looks_like_dicom, read_dataset
from monai_ddfm.data.transform_files import read_transform
from monai_ddfm.errors import InputError
from monai_ddfm.networks.priors import network_from_file, prior_info

GIB = 2**30
BIG = {"DimSize": "1000 1000 1000", "ElementType": "MET_DOUBLE"}


def held_at_most() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def refused(read: Callable[[Path], object], path: Path) -> str:
    """The sentence; reading must not have taken noteworthy memory."""
    before = held_at_most()
    with pytest.raises(InputError) as caught:
        read(path)
    assert held_at_most() - before < 200 * 2**20
    assert path.name in str(caught.value)
    return str(caught.value)


def volume(path: Path) -> object:
    return read_volume(path, modality="PET", allow_unknown_geometry=True)


def test_volumes_of_a_few_bytes(tmp_path: Path) -> None:
    few = zeros(1000)
    gz = gzip.compress(bytes(1000))
    for path in (
        nifti(tmp_path / "a.nii.gz", (1000, 1000, 1000)),
        nifti(tmp_path / "a.nii", (1000, 1000, 1000)),
        nifti(tmp_path / "four.nii.gz", (100, 100, 100, 30000)),
        nifti(tmp_path / "rgb.nii.gz", (1000, 1000, 300, 1, 3), code=2),
        mgh(tmp_path / "a.mgh", (1000, 1000, 1000, 1)),
        metaimage(tmp_path / "a.mha", data=few, CompressedData="True", **BIG),
        metaimage(tmp_path / "raw.mha", data=few, **BIG),
        metaimage(tmp_path / "text.mha", data=b"0 " * 500, BinaryData="False", **BIG),
        metaimage(tmp_path / "wide.mha", data=few, ElementNumberOfChannels="3", **BIG),
        nrrd(tmp_path / "a.nrrd", data=gz, encoding="gzip", sizes="1000 1000 1000"),
        nrrd(tmp_path / "raw.nrrd", data=gz, sizes="1000 1000 1000"),
        nrrd(tmp_path / "text.nrrd", data=b"0 " * 500, encoding="text", sizes="1000 1000 1000"),
        nrrd(tmp_path / "hex.nrrd", data=b"00" * 500, encoding="hex", sizes="1000 1000 1000"),
    ):
        assert "cannot hold" in refused(volume, path)


def test_bombs_that_their_compression_can_hold_are_judged_by_memory(tmp_path: Path) -> None:
    """In a process of 3 GB, where 8 GB of zeros in 8 MB would be the end."""
    packed = zeros(2**26) * 1  # 64 MiB of zeros, a valid beginning
    filler = bytes(9 * 2**20)
    size = {"DimSize": "1024 1024 1000", "ElementType": "MET_DOUBLE"}
    paths = [metaimage(tmp_path / "a.mha", data=packed + filler, CompressedData="True", **size)]
    sizes = "1024 1024 1000"
    data = gzip.compress(b"") + packed + filler
    paths.append(nrrd(tmp_path / "a.nrrd", data=data, encoding="gzip", type="double", sizes=sizes))
    paths.append(nrrd(tmp_path / "b.nrrd", data=data, encoding="bzip2", type="double", sizes=sizes))
    bomb = nifti(tmp_path / "sparse.nii", (1024, 1024, 1000))
    with bomb.open("r+b") as file:  # takes no place on the disk
        file.truncate(8 * 2**30 + 4096)
    paths.append(bomb)
    program = (
        "import sys, resource\n"
        "resource.setrlimit(resource.RLIMIT_AS, (3 * 2**30,) * 2)\n"
        "from monai_ddfm.data.readers import read_volume\n"
        "from monai_ddfm.errors import InputError\n"
        "for path in sys.argv[1:]:\n"
        "    try: read_volume(path, modality='PET')\n"
        "    except InputError as error: print(error)\n"
    )
    out = subprocess.run(
        [sys.executable, "-c", program, *map(str, paths)],
        capture_output=True, text=True, timeout=120, check=True,
    ).stdout.splitlines()  # fmt: skip
    assert len(out) == len(paths)
    assert all("of memory where" in line for line in out), out


@pytest.mark.parametrize("scale", [1e-42, 1e38])
def test_values_beyond_single_precision(tmp_path: Path, scale: float) -> None:
    values = (np.random.default_rng(0).random((6, 7, 5)) * scale).astype(np.float32)
    nib.save(nib.Nifti1Image(values, np.diag([2, 2, 2, 1])), tmp_path / "a.nii")
    assert "beyond what single precision" in refused(volume, tmp_path / "a.nii")


def test_extensions_that_claim_gigabytes(tmp_path: Path) -> None:
    path = nifti(tmp_path / "a.nii.gz", (6, 7, 5), code=16, data=bytes(840))
    content = bytearray(gzip.decompress(path.read_bytes()))
    struct.pack_into("<f", content, 108, 2e9)
    content[348:352] = b"\1\0\0\0"
    struct.pack_into("<2i", content, 352, 2**31 - 16, 6)
    path.write_bytes(gzip.compress(bytes(content)))
    assert "would begin at" in refused(volume, path)


def test_sizes_of_zero(tmp_path: Path) -> None:
    for sizes in ((0, 10, 10, 1), (10, 0, 10, 1), (10, 10, 0, 1), (0, 0, 0, 0), (10, 10, 10, -1)):
        refused(volume, mgh(tmp_path / "a.mgh", sizes))
    for dims in ((0, 10, 10), (10, 10, 0), (-5, 10, 10)):
        refused(volume, nifti(tmp_path / "a.nii", dims))
    for size in ("0 7 5", "-6 7 5", "6 7"):
        refused(volume, metaimage(tmp_path / "a.mha", DimSize=size))
        refused(volume, nrrd(tmp_path / "a.nrrd", sizes=size))
    for rank in ("-1", "0", "99999999999", "3.5", "x"):
        refused(volume, metaimage(tmp_path / "a.mha", NDims=rank))
        refused(volume, nrrd(tmp_path / "a.nrrd", dimension=rank))


# --- DICOM -------------------------------------------------------------------------------------


@pytest.mark.parametrize("syntax", ["implicit", "explicit", "rle", "jpegls", "jpeg2000", "jpeg"])
def test_dicom_that_claims_more(tmp_path: Path, syntax: str) -> None:
    path = dicom(tmp_path / "a.dcm", syntax)
    for claim in ((65535, 65535, 4), (65535, 65535, 10000), (9000, 9000, 900), (9, 9, 199_000)):
        dataset = pydicom.dcmread(path)
        dataset.Rows, dataset.Columns, dataset.NumberOfFrames = claim
        dataset.save_as(tmp_path / "b.dcm")
        refused(volume, tmp_path / "b.dcm")


@pytest.mark.parametrize("syntax", ["jpeg", "jpeg2000", "jpegls"])
def test_frames_that_are_larger_than_the_header_says(tmp_path: Path, syntax: str) -> None:
    path = dicom(tmp_path / "a.dcm", syntax)
    content = path.read_bytes()
    marks = {
        "jpeg": (b"\xff\xc0\0\x0b\x08", 5, struct.pack(">2H", 65535, 65535)),
        "jpegls": (b"\xff\xf7\0\x0b\x10", 5, struct.pack(">2H", 65535, 65535)),
        "jpeg2000": (b"\xff\x4f\xff\x51", 8, struct.pack(">2I", 65535, 65535)),
    }
    mark, after, lie = marks[syntax]
    at = content.rindex(mark) + after  # in the last frame
    path.write_bytes(content[:at] + lie + content[at + len(lie) :])
    assert "where its header says" in refused(volume, path)


@pytest.mark.parametrize("preamble", [True, False])
def test_what_is_deflated_is_judged_with_and_without_a_preamble(
    preamble: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = dicom(tmp_path / "a.dcm", "deflated")
    path = tmp_path / "IM0"
    path.write_bytes(made.read_bytes()[0 if preamble else 132 :])
    made.unlink()
    assert looks_like_dicom(path)
    assert "Rows" in read_dataset(path, pixels=False)
    monkeypatch.setattr("monai_ddfm.data.readers.dicom_claims.available_memory", lambda: 2000)
    monkeypatch.setattr(pydicom, "dcmread", lambda *_, **__: pytest.fail("it was unpacked"))
    assert looks_like_dicom(path)
    with pytest.raises(InputError, match="unpacks to more than"):
        read_dataset(path, pixels=False)


@pytest.mark.parametrize("length", [0, 4, 1000, 2**31, None])
@pytest.mark.parametrize("preamble", [True, False])
def test_a_false_length_of_the_meta_information_hides_nothing(
    length: int | None, preamble: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = dicom(tmp_path / "a.dcm", "deflated").read_bytes()
    if length is None:  # left out
        content = content[:132] + content[144:]
    else:
        content = content[:140] + struct.pack("<I", length) + content[144:]
    path = tmp_path / "a.dcm"
    path.write_bytes(content[0 if preamble else 132 :])
    assert "Rows" in read_dataset(path, pixels=False)
    monkeypatch.setattr("monai_ddfm.data.readers.dicom_claims.available_memory", lambda: 2000)
    monkeypatch.setattr(pydicom, "dcmread", lambda *_, **__: pytest.fail("it was unpacked"))
    with pytest.raises(InputError, match="unpacks to more than"):
        read_dataset(path, pixels=False)


def test_odd_meta_information_hides_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = dicom(tmp_path / "a.dcm", "deflated").read_bytes()
    path = tmp_path / "a.dcm"
    odd = b"\x02\0\x02\x01OB\0\0" + struct.pack("<I", 2**21) + bytes(2**21)
    sequence = b"\x02\0\x02\x01SQ\0\0\xff\xff\xff\xff\xfe\xff\xdd\xe0\0\0\0\0"
    for more in (odd, sequence):
        path.write_bytes(content[:144] + more + content[144:])
        with monkeypatch.context() as patch:
            patch.setattr("monai_ddfm.data.readers.dicom_claims.available_memory", lambda: 2000)
            patch.setattr(pydicom, "dcmread", lambda *_, **__: pytest.fail("it was unpacked"))
            with pytest.raises(InputError, match="unpacks to more than"):
                read_dataset(path, pixels=False)


def test_colors_of_any_type_are_judged_as_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = nib.Nifti1Image(np.arange(1512, dtype=np.int16).reshape(9, 8, 7, 3), np.eye(4))
    image.header["intent_code"] = 2003
    nib.save(image, tmp_path / "a.nii")
    needed = 9 * 8 * 7 * 3 * (2 + 12)
    monkeypatch.setattr("monai_ddfm.data.readers.claims.available_memory", lambda: needed)
    assert read_volume(tmp_path / "a.nii").array.shape == (3, 9, 8, 7)
    monkeypatch.setattr("monai_ddfm.data.readers.claims.available_memory", lambda: needed - 1)
    with pytest.raises(InputError, match="of memory where"):
        read_volume(tmp_path / "a.nii")


@pytest.mark.parametrize("mode", ["P", "LA"])
def test_pictures_are_judged_with_what_they_unfold_to(
    mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new(mode, (10, 10)).save(tmp_path / "a.png")
    monkeypatch.setattr("monai_ddfm.data.readers.claims.available_memory", lambda: 100 * 44)
    assert read_picture(tmp_path / "a.png").bits == 8
    monkeypatch.setattr("monai_ddfm.data.readers.claims.available_memory", lambda: 100 * 44 - 1)
    with pytest.raises(InputError, match="pixels, which take"):
        read_picture(tmp_path / "a.png")


@pytest.mark.slow
def test_deflated_files_are_unpacked_no_further_than_memory_reaches(tmp_path: Path) -> None:
    path = dicom(tmp_path / "a.dcm", "deflated")
    content = path.read_bytes()
    length = struct.unpack_from("<I", content, 140)[0]
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    block = bytes(2**24)
    body = b"".join(packer.compress(block) for _ in range(128)) + packer.flush()  # 2 GiB
    path.write_bytes(content[: 144 + length] + body)
    program = (
        "import sys, resource\n"
        "resource.setrlimit(resource.RLIMIT_AS, (3 * 2**30,) * 2)\n"
        "from monai_ddfm.data.readers import read_volume\n"
        "from monai_ddfm.errors import InputError\n"
        "try: read_volume(sys.argv[1])\n"
        "except InputError as error: print(error)\n"
        "print(*[line for line in open('/proc/self/status') if line.startswith('VmHWM')])\n"
    )
    call = [sys.executable, "-c", program, str(path)]
    out = subprocess.run(call, capture_output=True, text=True, timeout=120, check=True).stdout
    told, held = out.splitlines()[:2]
    assert "unpacks to more than" in told
    assert int(held.split()[1]) < 500_000  # kB


def test_a_frame_that_crashes_its_decoder(tmp_path: Path) -> None:
    """GDCM ends the process on a frame whose header comes after odd bytes."""
    path = dicom(tmp_path / "a.dcm", "jpeg")
    dataset = pydicom.dcmread(path)
    frame = next(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=4))
    odd = frame.replace(b"\xff\xc0", bytes(8) + b"\xff\xc0", 1)
    dataset.PixelData = encapsulate([odd, frame, frame, frame])
    dataset.save_as(path)
    assert "crashes" in refused(volume, path)


# --- transforms --------------------------------------------------------------------------------

LIES = {
    "empty.tfm": "Transform: Euler3DTransform_double_3_3\nParameters:\nFixedParameters: 0 0 0 0\n",
    "few.tfm": "Transform: Euler3DTransform_double_3_3\nParameters: 0 0\nFixedParameters: 0 0 0\n",
    "grid.tfm": "Transform: BSplineTransform_double_3_3\nParameters: 0 0 0\nFixedParameters: "
    "99999 99999 99999 0 0 0 1 1 1 1 0 0 0 1 0 0 0 1\n",
    "negative.tfm": "Transform: BSplineTransform_double_3_3\nParameters: 0\nFixedParameters: "
    "-1 -1 -1 0 0 0 1 1 1 1 0 0 0 1 0 0 0 1\n",
    "unknown.tfm": "Transform: NoTransform_double_3_3\nParameters: 0\nFixedParameters: 0\n",
    "flat.tfm": "Transform: Euler2DTransform_double_2_2\nParameters: 0 0 0\nFixedParameters: 0 0\n",
    "nan.tfm": "Transform: AffineTransform_double_3_3\nParameters: nan 0 0 0 1 0 0 0 1 0 0 0\n"
    "FixedParameters: 0 0 0\n",
    "mirror.tfm": "Transform: AffineTransform_double_3_3\nParameters: -1 0 0 0 1 0 0 0 1 0 0 0\n"
    "FixedParameters: 0 0 0\n",
    "nothing.tfm": "",
}


@pytest.mark.parametrize("name", LIES)
def test_transforms_that_lie(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text(f"#Insight Transform File V1.0\n#Transform 0\n{LIES[name]}")
    refused(read_transform, path)


def test_transforms_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "a.tfm"
    path.write_bytes(
        b"#Insight Transform File V1.0\nTransform: Tran\xc3form\nParameters: 0 \xe1 0\n"
    )
    refused(read_transform, path)
    for name in ("a.h5", "a.mat", "a.txt"):
        path = tmp_path / name
        path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(500))
        refused(read_transform, path)


@pytest.mark.parametrize(("kind", "count"), [("Euler3DTransform", 5), ("ScaleTransform", 4)])
def test_hdf5_with_another_number_of_parameters(tmp_path: Path, kind: str, count: int) -> None:
    """ITK would take what lies in memory after those that there are."""
    text = tmp_path / "a.tfm"
    text.write_text(
        f"#Insight Transform File V1.0\n#Transform 0\nTransform: {kind}_double_3_3\n"
        f"Parameters: {' '.join(['0'] * count)}\nFixedParameters: 0 0 0\n"
    )
    path = tmp_path / "a.h5"
    program = (
        "import SimpleITK as sitk, sys, os\n"
        "sitk.WriteTransform(sitk.ReadTransform(sys.argv[1]), sys.argv[2])\n"
        "os._exit(0)"  # memory may be damaged by now
    )
    subprocess.run([sys.executable, "-c", program, str(text), str(path)], check=True, timeout=60)
    assert "holds no ITK transform that can be read" in refused(read_transform, path)


def test_the_files_that_went_wrong(shared: Path) -> None:
    folder = shared / "cases" / "hostile"
    if not folder.is_dir():
        pytest.skip("needs the cases")
    for path in sorted(folder.iterdir()):
        transform = path.suffix in (".tfm", ".h5")
        refused(read_transform if transform else volume, path)


# --- pictures and checkpoints ------------------------------------------------------------------


def test_pictures_are_judged_by_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("1", (9000, 9000)).save(path)
    limit = resource.getrlimit(resource.RLIMIT_AS)
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + GIB, limit[1]))
    try:
        assert "of memory where" in refused(read_picture, path)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limit)


def test_a_byte_that_is_shown_as_a_trillion(tmp_path: Path) -> None:
    prior = saved_prior(tmp_path)
    state = torch.load(prior)
    key = next(iter(state))
    for lie in (
        torch.zeros(1, dtype=torch.float16).expand(10**6, 10**6),
        torch.zeros(4).as_strided((10**5, 10**5), (0, 0)),
        torch.empty(10**6, 10**6, device="meta"),
        torch.zeros(3, 3).to_sparse(),
    ):
        path = tmp_path / "lie.pt"
        torch.save({**state, key: lie}, path)
        path.with_suffix(".json").write_bytes(prior.with_suffix(".json").read_bytes())
        refused(prior_info, path)
        refused(network_from_file, path)


def test_archives_that_unpack_to_more(tmp_path: Path) -> None:
    prior = saved_prior(tmp_path)
    path = tmp_path / "packed.pt"
    with zipfile.ZipFile(prior) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.namelist():
            new.writestr(entry, old.read(entry))
        new.writestr("archive/data/bomb", bytes(2**26))
    assert "unpacks to more" in refused(prior_info, path)


@pytest.mark.parametrize(
    ("field", "value"),
    [("channels", [10**9, 10**9]), ("num_res_blocks", [10**9, 1]), ("channels", [8] * 10_000),
     ("norm_num_groups", 10**12), ("patch_size", 10**6), ("num_head_channels", [10**9, 8])],
)  # fmt: skip
def test_descriptions_of_networks_that_nobody_builds(tmp_path: Path, field, value) -> None:
    prior = saved_prior(tmp_path)
    sidecar = prior.with_suffix(".json")
    content = json.loads(sidecar.read_text())
    content["architecture"][field] = value
    sidecar.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"prior\.json"):
        network_from_file(prior)


def test_sound_files_of_all_kinds_are_read(tmp_path: Path) -> None:
    """What is refused above differs from these by a lie alone."""
    for syntax in ("implicit", "deflated", "rle", "jpegls", "jpeg2000", "jpeg"):
        read = read_volume(dicom(tmp_path / "a.dcm", syntax), modality="PET",
                           allow_unknown_geometry=True)  # fmt: skip
        assert read.array.shape == (1, 40, 40, 4)
    metaimage(tmp_path / "a.mha")
    nrrd(tmp_path / "a.nrrd")
    first, second = volume(tmp_path / "a.mha"), volume(tmp_path / "a.nrrd")
    np.testing.assert_array_equal(first.array, second.array)
    network_from_file(saved_prior(tmp_path))


@pytest.mark.parametrize("kind", ["EPS", "GIF", "PCX", "BMP", "PDF", "ICO"])
def test_pictures_of_other_kinds_under_these_names(tmp_path: Path, kind: str) -> None:
    """Pillow would have Ghostscript run the first, which is a program."""
    Image.effect_noise((64, 64), 60).save(tmp_path / "a", format=kind)
    (tmp_path / "a").rename(tmp_path / "a.png")
    assert "not a picture known here" in refused(read_picture, tmp_path / "a.png")


def test_a_tiff_without_dimensions(tmp_path: Path) -> None:
    """Pillow raises of many kinds."""
    path = tmp_path / "a.tif"
    Image.new("L", (20, 20)).save(path)
    content = path.read_bytes()
    for tag in (256, 257):  # width and length become unknown tags
        content = content.replace(struct.pack("<HH", tag, 4), struct.pack("<HH", tag + 60_000, 4))
        content = content.replace(struct.pack("<HH", tag, 3), struct.pack("<HH", tag + 60_000, 3))
    path.write_bytes(content)
    refused(read_picture, path)
