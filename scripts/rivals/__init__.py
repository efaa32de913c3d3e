"""The tools that colotrace's cost is held against: how each is started on a process, and when its probes are there."""
