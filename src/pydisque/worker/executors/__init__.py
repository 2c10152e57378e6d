"""Where handlers run: in threads, asyncio tasks or processes."""
