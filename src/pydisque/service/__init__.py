"""What a long-running process needs: a small HTTP server, metrics, log formats, systemd.

Nothing here imports another part of pydisque.
"""
