"""Long tests with targets of their own in the Makefile: chaos and soak."""
