"""Every option, said once: in `groups`, and from it all that names an option.

`fields` is what is said of one, `names` what it is called where, `values` and `checks` what is
refused.
"""

from __future__ import annotations

from monai_ddfm.options.groups import (
    GROUPS,
    Appearance,
    Bids,
    Case,
    Likelihood,
    Options,
    Output,
    Patient,
    PictureOptions,
    Pictures,
    Placement,
    Reading,
    Sampling,
    all_options,
    options_of,
)

__all__ = [
    "GROUPS",
    "Appearance",
    "Bids",
    "Case",
    "Likelihood",
    "Options",
    "Output",
    "Patient",
    "PictureOptions",
    "Pictures",
    "Placement",
    "Reading",
    "Sampling",
    "all_options",
    "options_of",
]
