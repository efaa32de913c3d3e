"""Builds a QEMU with the `info_checkpoint` patch in it, to hold colotrace's figures against.

The distribution's QEMU source gets one-line calls at the boundaries of COLO's phases. The places are found by the
structure of the code; the accounting behind the calls is checkpoint_recorder.c. `build.binary` is the way in;
`scripts/patched_qemu` is a thin command line over it.
"""
