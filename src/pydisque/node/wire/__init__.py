"""Requests and replies as bytes. Pure."""
