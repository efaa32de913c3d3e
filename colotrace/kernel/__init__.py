"""The only privileged room, and the only one that imports bcc: checks, loads, arms, reads. It takes plans as they are."""
