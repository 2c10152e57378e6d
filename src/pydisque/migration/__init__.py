"""Moves jobs to another cluster.

`plan` decides what happens to each job (pure), `source` asks the nodes, `journal` survives a kill.
"""
