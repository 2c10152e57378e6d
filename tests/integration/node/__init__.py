"""The node through its sockets: what a client gets, in which order, and what it cannot do."""
