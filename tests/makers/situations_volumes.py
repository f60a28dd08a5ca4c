"""Situations in NIfTI, MGH, NRRD and MetaImage: frames, colors, places, units."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nifti_makers import save
from situation_rows import Row

SHAPE = (6, 7, 5)
PLACED = np.diag([20.0, 20.0, 20.0, 1.0])
NOWHERE = "does not place the volume in space"
SPACED = "space directions: {none}(20,0,0) (0,20,0) (0,0,20)"


def frames(count: int, kind: type = np.float32) -> np.ndarray:
    """[6, 7, 5, count] from 0 to 249."""
    rng = np.random.default_rng(5)
    return rng.integers(0, 250, (*SHAPE, count)).astype(kind)


def averaged(stack: np.ndarray) -> np.ndarray:
    return stack.astype(np.float64).mean(-1)


def colored(stack: np.ndarray) -> np.ndarray:
    return np.moveaxis(stack[..., :3].astype(np.float64), -1, 0)


def nrrd(path: Path, stack: np.ndarray, *lines: str) -> Path:
    """Write [6, 7, 5] or [6, 7, 5, n] with the values of a voxel first, and these lines."""
    kind = {"f4": "float", "u1": "uint8", "i2": "int16"}[stack.dtype.str[1:]]
    head = ["NRRD0005", f"type: {kind}", f"dimension: {stack.ndim}", "endian: little"]
    if stack.ndim == 4:
        stack = np.moveaxis(stack, -1, 0)
    sizes = " ".join(str(n) for n in stack.shape)
    head += [f"sizes: {sizes}", "encoding: raw", *lines, "", ""]
    path.write_bytes("\n".join(head).encode() + stack.tobytes(order="F"))
    return path


def in_space(listed: bool = False) -> list[str]:
    return [
        "space: left-posterior-superior",
        SPACED.format(none="none " * listed),
        "space origin: (1,2,3)",
    ]


def mha(path: Path, stack: np.ndarray, *lines: str) -> Path:
    """Write [6, 7, 5] or [6, 7, 5, n] with the values of a voxel first, and these lines."""
    kind = {"f4": "MET_FLOAT", "u1": "MET_UCHAR", "u2": "MET_USHORT"}[stack.dtype.str[1:]]
    head = ["ObjectType = Image", "NDims = 3", "BinaryData = True", "DimSize = 6 7 5", *lines]
    if stack.ndim == 4:
        head.append(f"ElementNumberOfChannels = {stack.shape[-1]}")
        stack = np.moveaxis(stack, -1, 0)
    head += [f"ElementType = {kind}", "ElementDataFile = LOCAL", ""]
    path.write_bytes("\n".join(head).encode() + stack.tobytes(order="F"))
    return path


META = ("TransformMatrix = 1 0 0 0 1 0 0 0 1", "Offset = 1 2 3", "ElementSpacing = 20 20 20")


def plain() -> np.ndarray:
    return frames(1)[..., 0]


def nifti_frames(shape: tuple[int, ...], kind: type, **header: Any) -> Any:
    def make(folder: Path) -> tuple[Path, np.ndarray]:
        stack = frames(shape[-1], kind)
        path = save(folder / "a.nii.gz", stack.reshape((*SHAPE, *shape)), PLACED, **header)
        return path, averaged(stack) if header.get("intent_code") != 2003 else colored(stack)

    return make


def rgb24(folder: Path) -> tuple[Path, np.ndarray]:
    stack = frames(3, np.uint8)
    data = np.zeros(SHAPE, dtype=[(c, "u1") for c in "RGB"])
    for i, c in enumerate("RGB"):
        data[c] = stack[..., i]
    return save(folder / "a.nii", data, PLACED), colored(stack)


def nrrd_kinds(kinds: str, count: int, kind: type = np.float32, *, color: bool = False) -> Any:
    def make(folder: Path) -> tuple[Path, np.ndarray]:
        stack = frames(count, kind)
        lines = [*in_space(listed=True), f"kinds: {kinds} domain domain domain"]
        return nrrd(folder / "a.nrrd", stack, *lines), (colored if color else averaged)(stack)

    return make


def mha_channels(count: int, kind: type, *, color: bool = False) -> Any:
    def make(folder: Path) -> tuple[Path, np.ndarray]:
        stack = frames(count, kind)
        return mha(folder / "a.mha", stack, *META), (colored if color else averaged)(stack)

    return make


def nrrd_lines(*lines: str) -> Any:
    return lambda folder: (nrrd(folder / "a.nrrd", plain(), *lines), plain())


def mha_lines(*lines: str) -> Any:
    return lambda folder: (mha(folder / "a.mha", plain(), *lines), plain())


def mgh(flag: int) -> Any:
    def make(folder: Path) -> tuple[Path, np.ndarray]:
        path = folder / "a.mgh"
        nib.save(nib.MGHImage(plain(), PLACED), path)
        content = bytearray(path.read_bytes())
        content[28:30] = flag.to_bytes(2, "big")
        path.write_bytes(bytes(content))
        return path, plain()

    return make


def quaternion(b: float, c: float, *, codes: tuple[int, int]) -> Any:
    """A NIfTI whose quaternion is (0, b, c, 0), written byte by byte as it stands."""

    def make(folder: Path) -> tuple[Path, np.ndarray]:
        path = folder / "a.nii"
        image = nib.Nifti1Image(plain(), PLACED)
        image.set_qform(PLACED, 1)
        image.set_sform(PLACED, 1)
        nib.save(image, path)
        header = np.frombuffer(path.read_bytes()[:348], nib.nifti1.header_dtype).copy()
        header["quatern_b"], header["quatern_c"], header["quatern_d"] = b, c, 0
        header["qform_code"], header["sform_code"] = codes
        path.write_bytes(header.tobytes() + path.read_bytes()[348:])
        return path, plain()

    return make


def in_meters(unit: str | None) -> Any:
    def make(folder: Path) -> Path:
        affine = np.diag([0.02, 0.02, 0.02, 1.0])
        image = nib.Nifti1Image(plain(), affine)
        if unit:
            image.header.set_xyzt_units(unit)
        nib.save(image, folder / "a.nii")
        return folder / "a.nii"

    return make


HALF = float(np.sqrt(0.5))
TWENTY = (20.0, 20.0, 20.0)

ROWS = [
    # --- frames and colors
    Row("bytes along the fourth axis", "nibabel 684", nifti_frames((3,), np.uint8), "SPECT"),
    Row(
        "floats along the fifth axis, no intent",
        "mrtrix3 2217",
        nifti_frames((1, 3), np.float32),
        "PET",
        note="taken as frames, not as colors",
    ),
    Row(
        "integers beyond a byte along the fifth axis",
        "mrtrix3 2217",
        nifti_frames((1, 4), np.int16, intent_code=1007),
        "PET",
        note="taken as frames",
    ),
    Row(
        "the intent says color",
        "mrtrix3 2217",
        nifti_frames((1, 3), np.uint8, intent_code=2003),
        "PET",
        units="RGB",
    ),
    Row("RGB24", "neuroglancer-scripts 13", rgb24, "SPECT", units="RGB"),
    Row(
        "MR frames of bytes have to be chosen",
        "nibabel 684",
        nifti_frames((3,), np.uint8),
        "MR",
        refused="choose one of 0 to 2 with frames=",
    ),
    Row(
        "sequence of three floats per voxel",
        "Seg3D 91",
        nrrd_kinds("list", 3),
        "PET",
        note="3 values per voxel were taken as frames",
    ),
    Row("list of two", "Seg3D 91", nrrd_kinds("list", 2), "PET", note="2 values per voxel"),
    Row("list of five", "Seg3D 91", nrrd_kinds("list", 5), "SPECT", note="5 values per voxel"),
    Row(
        "list of three bytes is none of colors",
        "medInria-public 203",
        nrrd_kinds("list", 3, np.uint8),
        "SPECT",
        note="3 values per voxel",
    ),
    Row(
        "kind RGB-color",
        "Slicer 591",
        nrrd_kinds("RGB-color", 3, np.uint8, color=True),
        "PET",
        units="RGB",
    ),
    Row(
        "vector of bytes without a name",
        "medInria-public 203",
        nrrd_kinds("vector", 3, np.uint8, color=True),
        "PET",
        units="RGB",
    ),
    Row(
        "a tensor in every voxel",
        "Seg3D 91",
        nrrd_kinds("3D-symmetric-matrix", 6),
        "MR",
        refused="holds a 3d-symmetric-matrix in every voxel",
    ),
    Row(
        "MetaImage of three float channels",
        "medInria-public 203",
        mha_channels(3, np.float32),
        "PET",
        note="3 values per voxel",
    ),
    Row(
        "MetaImage of three 16-bit channels",
        "medInria-public 203",
        mha_channels(3, np.uint16),
        "SPECT",
        note="3 values per voxel",
    ),
    Row(
        "MetaImage of three bytes",
        "medInria-public 203",
        mha_channels(3, np.uint8, color=True),
        "SPECT",
        units="RGB",
    ),
    Row(
        "a phase by its name in BIDS",
        "niworkflows 591",
        lambda folder: save(folder / "sub-01_part-phase_T1w.nii.gz", plain(), PLACED),
        "MR",
        refused="phase part of an MRI, which shows no anatomy",
    ),
    # --- places
    Row("NRRD without space", "ANTsPy 514", nrrd_lines("spacings: 20 20 20"), "MR", note=NOWHERE),
    Row(
        "NRRD with the dimension of space only",
        "ANTsPy 514",
        nrrd_lines("space dimension: 3", SPACED.format(none=""), "space origin: (1,2,3)"),
        "MR",
        note="no space is named",
    ),
    Row(
        "NRRD in the space of the scanner",
        "Slicer 8694",
        nrrd_lines("space: scanner-xyz", SPACED.format(none=""), "space origin: (1,2,3)"),
        "MR",
        note="scanner-xyz is named",
    ),
    Row(
        "NRRD without an origin",
        "Images.jl 86",
        nrrd_lines("space: left-posterior-superior", SPACED.format(none="")),
        "MR",
        note="has no origin",
    ),
    Row("NRRD as it should be", "Images.jl 86", nrrd_lines(*in_space()), "MR", size=TWENTY),
    Row(
        "NRRD in meters",
        "Slicer 7631",
        nrrd_lines(
            "space: left-posterior-superior",
            'space units: "m" "m" "m"',
            "space directions: (0.02,0,0) (0,0.02,0) (0,0,0.02)",
            "space origin: (0,0,0)",
        ),
        "MR",
        size=TWENTY,
    ),
    Row(
        "NRRD in microns",
        "ANTsPy 514",
        nrrd_lines(
            "space: left-posterior-superior",
            'space units: "microns" "microns" "microns"',
            "space directions: (20000,0,0) (0,20000,0) (0,0,20000)",
            "space origin: (0,0,0)",
        ),
        "MR",
        size=TWENTY,
    ),
    Row(
        "NRRD in a unit that nobody knows",
        "Slicer 7631",
        nrrd_lines(*in_space(), 'space units: "furlong" "furlong" "furlong"'),
        "MR",
        refused="measures space in furlong",
    ),
    Row(
        "MetaImage without TransformMatrix",
        "Slicer 2173",
        mha_lines("ElementSpacing = 20 20 20"),
        "MR",
        note=NOWHERE,
    ),
    Row("MetaImage without Offset", "Gate 359", mha_lines(META[0], META[2]), "MR", note="origin"),
    Row(
        "MetaImage whose orientation contradicts its matrix",
        "ITK 1017",
        mha_lines(*META, "AnatomicalOrientation = LPI"),
        "MR",
        note="AnatomicalOrientation is LPI, but TransformMatrix says RAI",
    ),
    Row(
        "MetaImage whose orientation fits its matrix",
        "ITK 1017",
        mha_lines(*META, "AnatomicalOrientation = RAI"),
        "MR",
        size=TWENTY,
    ),
    Row("MGH without directions", "freesurferformats 3", mgh(0), "MR", note=NOWHERE),
    Row("MGH with directions", "freesurferformats 3", mgh(1), "MR"),
    Row(
        "quaternion off beside a good sform",
        "spinalcordtoolbox 3703",
        quaternion(0.7075, 0.7075, codes=(1, 1)),
        "MR",
        note="the sform is used",
        size=TWENTY,
    ),
    Row(
        "quaternion that is nonsense beside a good sform",
        "nilearn 1505",
        quaternion(3.0, 1.0, codes=(1, 1)),
        "MR",
        note="has a length of 3.162; the sform is used",
        size=TWENTY,
    ),
    Row(
        "quaternion that is not finite beside a good sform",
        "nilearn 1505",
        quaternion(float("nan"), 0.0, codes=(1, 1)),
        "MR",
        note="not finite; the sform is used",
        size=TWENTY,
    ),
    Row(
        "quaternion off by rounding alone",
        "fmriprep 845",
        quaternion(HALF + 8e-7, HALF, codes=(1, 0)),
        "MR",
        size=TWENTY,
    ),
    Row(
        "quaternion off by a thousandth alone",
        "nibabel 626",
        quaternion(0.7075, 0.7075, codes=(1, 0)),
        "MR",
        note="length of 1.0006: normalized",
        size=TWENTY,
    ),
    Row(
        "quaternion that is nonsense alone",
        "nibabel 626",
        quaternion(3.0, 1.0, codes=(1, 0)),
        "MR",
        refused="has a length of 3.162",
    ),
    Row("NIfTI in meters", "fmriprep 786", in_meters("meter"), "MR", size=TWENTY),
]
