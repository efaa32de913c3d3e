"""Counts drifts and steps that the analysis sees in runs that have none; see scripts/false_alarms."""

from __future__ import annotations

import sys
from itertools import pairwise

import numpy as np

from colotrace.analysis.trend import drift_of, edges_of, step_of

CORRELATIONS = (0.0, 0.8, 0.95)
CHECKPOINTS = (100, 600, 3000, 20_000)


def main(runs: int) -> None:
    """Prints the table."""
    random = np.random.default_rng(1)
    print(f"# of {runs} runs without any")
    print(f"{'correlation':>11} {'checkpoints':>12} {'bins':>5} {'drifts':>7} {'steps':>6}")
    for correlation in CORRELATIONS:
        for n in CHECKPOINTS:
            levels = random.normal(0, 1, (runs, n))
            for i in range(1, n):
                levels[:, i] += correlation * levels[:, i - 1]
            edges = edges_of(np.arange(n) * 10**9)
            when = np.array(edges[:-1], np.int64) * 10**9
            drifts = steps = 0
            for run in levels:
                medians = np.array([np.median(run[a:b]) for a, b in pairwise(edges)])
                drift = drift_of(when.astype(np.float64), medians)
                drifts += drift is not None and drift.evidence
                steps += step_of(when, medians) is not None
            shares = f"{drifts / runs:>7.1%} {steps / runs:>6.1%}"
            print(f"{correlation:>11.2f} {n:>12,} {len(edges) - 1:>5} {shares}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 400)
