"""What a node exports: snapshot, metrics and health."""
