"""How a function that makes a command becomes a method that runs it.

The method's types come from a ParamSpec in each client; this gives it the function's name,
docstring and signature, for ``help()`` and `inspect.signature`.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import Parameter, signature
from typing import Any, TypeVar

M = TypeVar("M", bound=Callable[..., Any])


def present(method: M, function: Callable[..., Any], owner: str, returns: str | None = None) -> M:
    """Make a method look like the function it was made from.

    Args:
        method: Takes ``self`` and then what the function takes.
        function: Returns a ``Command[R]``.
        owner: The name of the method's class.
        returns: What the method returns, if not ``R``.
    """
    looks = signature(function)
    result = looks.return_annotation.removeprefix("Command[").removesuffix("]")
    parameters = (Parameter("self", Parameter.POSITIONAL_ONLY), *looks.parameters.values())
    method.__name__ = function.__name__
    method.__qualname__ = f"{owner}.{function.__name__}"
    method.__doc__ = function.__doc__
    method.__signature__ = looks.replace(  # type: ignore[attr-defined]
        parameters=parameters, return_annotation=returns or result
    )
    return method
