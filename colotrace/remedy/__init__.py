"""Remedies for a running, unmodified QEMU: each changes one setting, measures the gain, and can be taken back."""
