"""The only privileged room: checks, loads, arms, reads. Takes plans as they are. Its compiler alone imports bcc."""
