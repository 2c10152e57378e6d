"""Random and mutated bytes at a node's port."""
