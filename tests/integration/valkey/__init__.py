"""Nodes on one Valkey, through their sockets: what they do together, and what without it."""
