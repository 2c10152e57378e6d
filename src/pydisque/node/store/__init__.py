"""Where jobs are kept: in memory, in a local journal, or in Valkey."""
