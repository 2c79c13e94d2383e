"""``tf.function(jit_compile=True)`` in a cell of several ranks: XLA cannot compile the exchange between them."""

from __future__ import annotations

import functools
import inspect
from typing import Any

from hops_magic.frameworks.context import RankContext
from hops_magic.frameworks.patches import Patches
from hops_magic.runs.events import Warned


def install(patches: Patches, context: RankContext) -> None:
    """Run the user's compiled functions without XLA, and say so: which of them exchange is not known before they run."""
    from tensorflow.python.eager.polymorphic_function import polymorphic_function

    said: set[str] = set()

    def make(original: Any) -> Any:
        signature = inspect.signature(original)

        @functools.wraps(original)
        def init(*args: Any, **kwargs: Any) -> None:
            bound = signature.bind(*args, **kwargs)
            function = bound.arguments["python_function"]
            if bound.arguments.get("jit_compile") and not _is_of_libraries(function):
                bound.arguments["jit_compile"] = None
                name = str(getattr(function, "__name__", function))
                if context.rank == 0 and name not in said:
                    said.add(name)
                    context.emit(Warned(message=_LEFT_OUT.format(name=name)))
            original(*bound.args, **bound.kwargs)

        return init

    patches.wrap(polymorphic_function.Function, "__init__", make)


_LEFT_OUT = (
    "jit_compile=True of the function {name} is left out on several ranks, since XLA cannot compile the exchange between "
    "them: it runs as a graph, with the same results but for rounding"
)


def _is_of_libraries(function: Any) -> bool:
    module = getattr(inspect.unwrap(function), "__module__", None) or ""
    return module.split(".")[0] in ("keras", "tensorflow", "hops_magic")
