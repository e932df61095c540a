"""What the loop costs and what it gains, side by side with peers: each module is a command that prints a table."""
