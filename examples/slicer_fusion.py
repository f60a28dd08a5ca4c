"""Fuse two volumes that are open in 3D Slicer, and show the result beside them.

In Slicer's Python console, with the names of the two volumes as the Data module shows them:

    exec(open("/path/to/slicer_fusion.py").read())
    fuse_in_slicer("T1", "PET", modality="PET", server="http://127.0.0.1:8000")

The volumes are sent to the server (``monai-ddfm label``) in sessions, which are removed afterwards;
nothing is added to its store. Further options are those of the server's ``/info``, for example
``result="luminance"`` or ``window="0..10"``. Research use only - not for diagnosis.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import requests  # comes with Slicer
import slicer


def fuse_in_slicer(
    mri: str,
    moving: str,
    *,
    modality: str,
    server: str = "http://127.0.0.1:8000",
    token: str | None = None,
    **options: Any,
) -> Any:
    """Fuse two open volumes; returns the node of the fusion.

    Args:
        mri: name of the MRI.
        moving: name of the PET, CT or SPECT.
        modality: of `moving`.
        server: its address.
        token: if the server asks for one.
        options: see the server's ``/info``.
    """
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    sessions: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        try:
            for name in (mri, moving):
                file = Path(folder) / f"volume{len(sessions)}.nii.gz"
                if not slicer.util.saveNode(slicer.util.getNode(name), str(file)):
                    raise RuntimeError(f"{name} cannot be saved as NIfTI")
                with file.open("rb") as opened:
                    sent = requests.put(
                        f"{server}/session/",
                        files={"files": (file.name, opened)},
                        headers=headers,
                        timeout=600,
                    )
                sent.raise_for_status()
                sessions.append(sent.json()["session_id"])
            asked = {
                "modality": modality,
                "session2": sessions[1],
                "result": "luminance" if modality == "CT" else "color",
                "result_extension": ".nrrd",
                **options,
            }
            answer = requests.post(
                f"{server}/infer/ddfm",
                params={"session_id": sessions[0], "output": "image"},
                data={"params": json.dumps(asked)},
                headers=headers,
                timeout=3600,
            )
        finally:
            for session in sessions:
                requests.delete(f"{server}/session/{session}", headers=headers, timeout=60)
        if answer.status_code != 200:
            raise RuntimeError(answer.json().get("detail", answer.text))
        result = Path(folder) / f"{mri} + {moving} (DDFM).nrrd"
        result.write_bytes(answer.content)
        return slicer.util.loadVolume(str(result))
