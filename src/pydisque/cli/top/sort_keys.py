"""What queues can be sorted by: keys of columns. The command offers them, so this loads nothing."""

SORTS = ("name", "len", "in", "out", "active", "delayed", "blocked", "import", "idle")
"""Not by the oldest job, which is known of those queues alone that are on the screen."""
