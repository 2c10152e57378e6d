"""A worker under steady load for a long time: what it takes of its machine must not grow."""
