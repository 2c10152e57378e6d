"""Fetches jobs, renews their leases and acknowledges them."""
