"""A real COLO pair on loopback, from any QEMU binary, for the demo, the tests and the benchmarks.

`ColoPair` in pair.py is the way in; `scripts/lab` is a thin command line over it.
"""
