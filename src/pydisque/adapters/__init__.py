"""Other people's frameworks on Disque: Celery through a transport of kombu, and Django's tasks.

Each is imported by its framework alone, and needs what its extra installs.
"""
