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
    """Writes what libraries log the way we do."""

    def emit(self, record: logging.LogRecord) -> None:
        exc_info = record.exc_info if record.exc_info and record.exc_info[0] else None
        structlog.get_logger().log(
            record.levelno,
            "library_log",
            logger=record.name,
            text=record.getMessage(),
            **({"exc_info": exc_info} if exc_info else {}),
        )
