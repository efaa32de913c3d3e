"""A live process, seen through /proc: identity, mappings, memory. Reads only; never stops or changes it."""
