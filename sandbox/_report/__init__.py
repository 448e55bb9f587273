"""A page made of an audit trail."""
