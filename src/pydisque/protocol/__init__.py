"""Disque's protocol as values: commands, replies, addresses and headers.

Pure: no socket, no clock. Nothing here knows how a command reaches a node.
"""
