"""The cost of a probe, measured on code of our own with the real kernel program."""

from __future__ import annotations

from colotrace.kernel.cost import measure_probe_cost


def test_stepping_costs_more_than_emulating_and_cold_more_than_warm() -> None:
    cost = measure_probe_cost()
    for one in (cost.emulated, cost.stepped):
        assert 0 < one.warm_ns < one.cold_ns
    assert cost.emulated.warm_ns < cost.stepped.warm_ns and cost.emulated.cold_ns < cost.stepped.cold_ns
    assert cost.of(True) is cost.emulated and cost.of(False) is cost.stepped
    assert 0 < cost.clock_ns < cost.emulated.warm_ns
