"""A survey of real systems, and what is made of it."""
