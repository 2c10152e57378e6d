"""Jobs and queues as JSON lines: export, validation and import."""
