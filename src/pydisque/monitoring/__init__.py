"""What a cluster looks like, for views: polled at bounded cost, counted and kept.

`monitor` polls all nodes, `jobs` lists the jobs of one queue; `figures` and `state_counts` keep
the numbers (pure). Must not know how anything is shown.
"""
