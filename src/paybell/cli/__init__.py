"""The commands a person types."""

import os
import sys
from io import TextIOWrapper

import cyclopts

from paybell import __version__
from paybell.cli.output import announce, fail
from paybell.errors import PaybellError

app = cyclopts.App(
    name="paybell",
    help="Pays orders out of balances and makes sure that everybody who needs to know is notified.",
    version=__version__,
    result_action="return_value",
    # Help shows a default that says something; and lists have no option that empties them.
    default_parameter=cyclopts.Parameter(
        negative_iterable=(), show_default=lambda value: None if value in (False, "", ("all",)) else value
    ),
)
# Named, not imported: a command loads what it needs itself, so that a small one answers at once.
_COMMANDS = (
    "serve",
    "migrate",
    "token",
    "dead-letters",
    "attempts",
    "wallet",
    "demo",
    "replay",
    "reconcile",
    "acknowledge",
    "tell",
    "verify",
    "doctor",
    "sandbox",
)
for name in _COMMANDS:
    module = name.replace("-", "_")
    app.command(f"paybell.cli.{module}:{module}", name=name)

app.register_install_completion_command(help="Install completion for the shell that is running.")

# Exit codes: 0 done, 1 refused or failed with one sentence, 2 the command line is wrong, 130 interrupted.
EXIT_FAILED, EXIT_INTERRUPTED = 1, 130


def main() -> None:
    """Run a command; an error of ours is one sentence, never a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # an arrow that a terminal cannot show fails no command
            stream.reconfigure(errors="replace")
    if sys.argv[1:] in ([], ["-h"], ["--help"]):
        for name in _COMMANDS:  # loaded, so that the list has each one's first sentence
            _ = app[name]
    try:
        _warn()
        sys.exit(app() or 0)
    except PaybellError as error:
        fail(str(error))
        sys.exit(EXIT_FAILED)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)


def _warn() -> None:
    """Name what is set and is no setting of ours; serve says it in its log."""
    if "serve" in sys.argv[1:2] or not any(name.startswith("PAYBELL_") for name in os.environ):
        return
    from paybell.environment.reading import unknown_variables  # noqa: PLC0415 - most environments need none
    from paybell.settings import Settings  # noqa: PLC0415

    for sentence in unknown_variables(Settings):
        announce(sentence)
