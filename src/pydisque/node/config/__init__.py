"""Settings of a node: parameters, where their values come from, users, TLS, exposure."""
