"""A process that passes COLO's boundaries as QEMU does, at any rate, and keeps its own accounts."""
