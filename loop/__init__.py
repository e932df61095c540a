"""The loop: what a run keeps and does, from OBJECTIVE.md to a better student."""
