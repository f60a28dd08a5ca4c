"""Whole studies: finding pairs, planning, running on one machine or a cluster, and the group.

`study` is the entry. `finding` and its neighbors know the kinds of input, `planning` compares with
what is done, `engine` and `clusters` run jobs with Dask, `worker` fuses one case through
`monai_ddfm.workflow`, `records` remembers what is finished, `group` puts everything together.
"""
