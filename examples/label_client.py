"""Upload an MRI and a PET, CT or SPECT to a running server, fuse them, and keep the result.

Needs the environment of MONAI Label. Start the server first, for example with
``monai-ddfm label --studies volumes``.

    python examples/label_client.py t1.nii.gz pet.nii.gz --modality PET --out fused.nii.gz
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path

from monailabel.client import MONAILabelClient
from monailabel.client.client import MONAILabelClientException


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description="Fuse two volumes on a MONAI Label server.")
    parser.add_argument("mri", type=Path)
    parser.add_argument("moving", type=Path, help="the PET, CT or SPECT of the same patient")
    parser.add_argument("--modality", required=True, choices=["PET", "CT", "SPECT"])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--server", default="http://127.0.0.1:8000")
    parser.add_argument("--options", type=json.loads, default={}, help="JSON, for example a window")
    given = parser.parse_args()

    with tempfile.TemporaryDirectory() as scratch:
        client = MONAILabelClient(server_url=given.server, tmpdir=scratch)
        print("offered:", ", ".join(client.info()["models"]["ddfm"]["config"]))

        # A session holds a file for an hour; it does not become part of the server's store.
        fixed = client.create_session(str(given.mri))["session_id"]
        moving = client.create_session(str(given.moving))["session_id"]
        options = {**given.options, "session2": moving, "modality": given.modality}
        options["result_extension"] = ".nrrd" if given.out.suffix == ".nrrd" else ".nii.gz"
        try:
            file, about = client.infer("ddfm", "", options, session_id=fixed)
        except MONAILabelClientException as error:
            raise SystemExit(f"error: {error}") from None
        finally:
            for session in (fixed, moving):
                client.remove_session(session)
        shutil.move(file, given.out)
    print(f"{given.out}: {about['seconds']['total']:.0f} s; {about['notice']}")


if __name__ == "__main__":
    main()
