"""Tests of the pure half: no root, no KVM, no bcc, no QEMU; every ELF file is made here, byte by byte."""
