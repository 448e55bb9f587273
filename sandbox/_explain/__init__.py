"""Policy.explain: which mount or rule decides of a call, and what would happen."""
