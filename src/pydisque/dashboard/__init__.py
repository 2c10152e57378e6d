"""The dashboard: queues, jobs and nodes in a browser. `app` is all of it as an ASGI application.

What is known of a system comes from `monitoring`; what is done to it, or asked of a job, goes
through the client. Nothing here knows the node.
"""
