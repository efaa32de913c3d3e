"""The QMP side, on the qemu.qmp library: questions to a QEMU's own monitor. Never needed for timing."""
