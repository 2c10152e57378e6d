"""The functions of `protocol.commands` as the clients have them: they return a command's reply.

mkdocstrings reads the sources and so sees ``-> Command[int]``, where a client returns ``int``.
"""

from __future__ import annotations

from typing import Any

from griffe import Expr, ExprSubscript, Extension, Function


class AsMethods(Extension):
    """Takes the `Command` off what a command's function returns."""

    def on_function(self, *, func: Function, **_: Any) -> None:
        if func.module.path == "pydisque.protocol.commands":
            for each in (func, *(func.overloads or ())):
                each.returns = _inner(each.returns)


def _inner(returns: str | Expr | None) -> str | Expr | None:
    whole = isinstance(returns, ExprSubscript) and str(returns.left) == "Command"
    return returns.slice if whole else returns
