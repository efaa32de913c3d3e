"""What recordings say: arrays and series in, frozen dataclasses out. Pure; numpy is imported by whoever needs it."""
