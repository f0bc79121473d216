"""How log lines look; they go to stderr, the libraries' as well as ours."""

import logging
import sys

import structlog

from paybell.settings import Settings


def configure_logs(settings: Settings) -> None:
    """Set structured logging up for this process."""
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if settings.log_format == "json"
        # Plain tracebacks: others show local variables, and those hold passwords.
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[settings.log_level.upper()]
        ),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.WARNING, handlers=[_Libraries()], force=True)
    # The client narrates every connection attempt; our own events say what matters of it.
    logging.getLogger("pika").setLevel(logging.CRITICAL)


class _Libraries(logging.Handler):
    """Writes what libraries log the way we do; a traceback only for what they call an error."""

    def emit(self, record: logging.LogRecord) -> None:
        event: dict[str, object] = {"logger": record.name, "text": record.getMessage()}
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            event |= {"error": f"{type(error).__name__}: {error}"}
            if record.levelno >= logging.ERROR:
                event |= {"exc_info": error}
        structlog.get_logger().log(record.levelno, "library_log", **event)
