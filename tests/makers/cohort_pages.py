"""Pages of cohorts that never were."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from monai_ddfm.apps.cohort.figures import MAIN_FIGURES
from monai_ddfm.apps.cohort.group.outliers import outlying
from monai_ddfm.apps.cohort.group.page import group_page


def made_up(count: int, pictures: Sequence[bytes] = ()) -> str:
    """A page of cases that never were: PET and CT in turn, and the pictures in turn."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (60, 240, 3), dtype=np.uint8)
    picture = io.BytesIO()
    Image.fromarray(noise).resize((480, 120)).save(picture, "JPEG", quality=80)
    # As good registrations have them; all but the first lie within their ranges.
    low = np.array([0.2, 0.85, 0.93, 0.7, 1, 4, 0, 0])
    high = np.array([0.4, 1.0, 1.0, 0.9, 9, 22, 0, 0.002])
    rows = []
    for i in range(count):
        modality = ("PET", "CT")[i % 2]
        drawn = low + (high - low) * rng.beta(4, 3, len(low))
        figures: dict[str, float | str] = {
            name: round(float(value), 4)
            for name, value in zip(list(MAIN_FIGURES)[1:], drawn, strict=True)
        }
        figures["registration_status"] = "ok"
        case, subject = f"sub-{i:04d}_{modality.lower()}", f"{i:04d}"
        rows.append(
            {
                **{"case": case, "subject": subject, "session": "", "tracer": ""},
                **{"modality": modality, "status": "done", "reason": ""},
                **{"warnings": [], "notes": [], "report": f"sub-{i:04d}/report.html"},
                "figures": figures,
            }
        )
    rows[7]["figures"]["registration_rotation_deg"] = 25.0
    rows[7]["warnings"] = ["registration: the rotation of 25 degrees is unusual"]
    rows[9] |= {
        "status": "failed",
        "reason": "<b>the PET</b> is cut off",
        "report": "",
        "figures": {},
    }
    for row, names in zip(rows, outlying(rows, list(MAIN_FIGURES)), strict=True):
        row["outliers"] = names
    texts = [base64.b64encode(one).decode() for one in pictures or [picture.getvalue()]]
    shown = [texts[i % len(texts)] for i in range(count)]
    problem = {"who": "sub-x", "sentence": "has a PET but no MRI"}
    return group_page(rows, [problem], shown, figures=MAIN_FIGURES)
