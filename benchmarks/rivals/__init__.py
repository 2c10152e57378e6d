"""One module per worker framework: the same no-op job, and settings for throughput from its manual.

Each module has PACKAGES (whose versions are told), producer() (gives a function that enqueues the
job of one number; it and its result may be awaitable), work() (becomes one worker process), and
may have fill(count) where the framework adds many jobs at once.

None is a dependency of the project: benchmarks/workers.py runs each in an environment of its own.
"""
