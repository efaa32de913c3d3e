"""What may happen around a tracer and a VM, as a table of scenarios, and what must hold after each of them.

scenario.py says what a scenario is, table.py lists them, bench.py is what they work with, aftercare.py what is checked.
"""
