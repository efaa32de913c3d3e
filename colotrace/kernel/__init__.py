"""The only privileged room, and the only one that imports bcc: checks, loads, arms, reads. Takes plans as they are."""
