"""Files that a run leaves: NIfTI volumes, the preview and the provenance, complete or absent."""

from __future__ import annotations

from monai_ddfm.data.writers.bound import CheckBoundd, excess_over_sources
from monai_ddfm.data.writers.nifti import write_nifti
from monai_ddfm.data.writers.outputs import SaveFusionOutputsd
from monai_ddfm.data.writers.provenance import MarkStage, RunRecord, collect_provenance
from monai_ddfm.data.writers.work import ClearWorkd, WorkFolder
from monai_ddfm.utils.files import NOTICE, StagedFolder, atomic_path, prepare_output_dir
from monai_ddfm.utils.hashes import describe_input, sha256_of
from monai_ddfm.utils.json_files import write_json
from monai_ddfm.visualize.panels import Panel
from monai_ddfm.visualize.preview import write_preview
from monai_ddfm.visualize.report import write_report

__all__ = [
    "NOTICE",
    "CheckBoundd",
    "ClearWorkd",
    "MarkStage",
    "Panel",
    "RunRecord",
    "SaveFusionOutputsd",
    "StagedFolder",
    "WorkFolder",
    "atomic_path",
    "collect_provenance",
    "describe_input",
    "excess_over_sources",
    "prepare_output_dir",
    "sha256_of",
    "write_json",
    "write_nifti",
    "write_preview",
    "write_report",
]
