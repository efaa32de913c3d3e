"""What recordings say: distributions, trends, costs, the slowest. Pure: series in, frozen dataclasses out."""
