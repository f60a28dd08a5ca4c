"""A subject to try the program on: MR-PET, MR-CT and MR-SPECT of a simulated head or trunk.

The head is built from the ICBM 152 template inside the nilearn wheel (extra ``demo``); nothing is
downloaded. A pelvis and an abdomen are sums of simple shapes. `make_demo` writes a pair of images
that lie apart by a known rigid transform, as NIfTI and, if asked for, as DICOM. The images are made
up: research use only - not for diagnosis.
"""

from __future__ import annotations

from monai_ddfm.apps.demo.anatomy import Anatomy, build_anatomy
from monai_ddfm.apps.demo.subject import DemoSubject, make_demo, write_demo_dicom

__all__ = ["Anatomy", "DemoSubject", "build_anatomy", "make_demo", "write_demo_dicom"]
