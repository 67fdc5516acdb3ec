"""Tasks made from a repository: out of its history, and by putting small faults into it."""
