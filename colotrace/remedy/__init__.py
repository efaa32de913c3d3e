"""Remedies for a running, unmodified QEMU: each changes one setting, measures what that gains, and can be taken back."""
