"""MONAI Label app: fuse the open study from the viewer.

========================  ========================================================================
module                    what it does
========================  ========================================================================
``request``               reads what a client asks for; nothing of it is ever evaluated or a path
``pairing``               finds the volume that belongs to an MRI, by name or by series
``studies``, ``archive``  the volumes of a folder, or of a DICOMweb archive
``process``               the one process that fuses, with its model, its limits and its end
``queue``                 one fusion after the other, in the order of the requests
``task``, ``main``        the model ``ddfm`` and the app, in MONAI Label's terms
``endpoint``              requests for fusions
``identifiers``           refuses identifiers that may be in any request
``compatibility``         what MONAI Label 0.8.5 needs beside newer packages
``server``                all of it put together: ``monai-ddfm label``
========================  ========================================================================

MONAI Label has an environment of its own (extra ``label``). Modules that need it are imported by
`monai_ddfm.apps.label.server.serve` only.
"""
