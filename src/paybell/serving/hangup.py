"""SIGHUP: to read files again; or that the terminal was closed, which ends the service as Ctrl-C does."""

import os


class Terminal:
    """The terminal this process was started at, if any."""

    def __init__(self) -> None:
        self._ours = [number for number in range(3) if os.isatty(number)]

    @property
    def is_gone(self) -> bool:
        """Say whether there was one, and it is closed."""
        return bool(self._ours) and not any(map(os.isatty, self._ours))
