"""The store of nodes that keep nothing themselves: all is in a Valkey, or Redis, beyond them.

`rules.lua` holds Disque's rules and says how jobs lie there; everything else brings commands to it
and answers back. `store` is what the node sees of it.
"""
