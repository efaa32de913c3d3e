"""From a binary to a plan: which address marks which boundary, and the evidence for it. Pure; touches no process."""
