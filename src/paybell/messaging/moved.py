"""Old import paths, kept for one release: each use of a name there warns, and gets what it is called now."""

import sys
import warnings
from collections.abc import Callable


def forwarding(old: str, *samples: object) -> Callable[[str], object]:
    """Return the ``__getattr__`` (PEP 562) of a module whose public names have moved.

    Args:
        old: the module's name.
        samples: one function or class out of each module where its names are now.
    """
    modules = [sys.modules[sample.__module__] for sample in samples]

    def look_up(name: str) -> object:
        for module in modules:
            if not name.startswith("_") and hasattr(module, name):
                warnings.warn(
                    f"{old}.{name} is {module.__name__}.{name} now; the next release drops the old name.",
                    DeprecationWarning,
                    stacklevel=2,
                )
                return getattr(module, name)
        raise AttributeError(f"module {old!r} has no attribute {name!r}")

    return look_up
