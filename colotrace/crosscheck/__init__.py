"""Two sets of figures of the same checkpoints, or one alone -> verdicts and findings. Pure: no process, no socket."""
