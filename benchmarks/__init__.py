"""What the sandbox costs: see README.md."""
