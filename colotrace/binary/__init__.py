"""A QEMU binary as data: ELF image, names, function bounds, decoded instructions. Pure: no process, no privileges."""
