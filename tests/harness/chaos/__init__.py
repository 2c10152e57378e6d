"""A node that is killed, unplugged and given a bad disk, and what its clients were promised."""
