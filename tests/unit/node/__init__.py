"""The node's parts, each alone: no socket, no clock."""
