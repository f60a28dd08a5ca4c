"""The model of the sources: what a correction of the prior's estimate is computed from.

`em` is the published step, `balance` the hierarchical model, `saliency` the choice by
brightness and structure, `noise_model` the noise of the sources, `baselines` the plain
rules beside them. `rectifiers` are the objects that a sampler calls.
"""
