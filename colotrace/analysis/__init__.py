"""What recordings say: distributions, trends, costs, the slowest. Pure: arrays and series in, frozen dataclasses out."""
