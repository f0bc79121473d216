"""``python -m paybell.testing FOLDER``: a PostgreSQL and a RabbitMQ to learn with, until it is ended."""

import signal
import sys
from pathlib import Path
from types import FrameType

from paybell.errors import PaybellError
from paybell.storage.embedded import embedded_postgres
from paybell.storage.embedded_server import EmbeddedServer
from paybell.testing.rabbitmq_node import find_or_start

_DATABASE = "points"


def _say(sentence: str) -> None:
    sys.stderr.write(sentence + "\n")


def _end(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


def main(folder: Path) -> None:
    """Print where they are as lines for a shell, and keep them until SIGTERM or Ctrl-C."""
    signal.signal(signal.SIGTERM, _end)
    with embedded_postgres(folder), find_or_start(_say) as broker_url:
        database_url = EmbeddedServer(folder.resolve()).database(_DATABASE)
        sys.stdout.write(
            f"export PAYBELL_BROKER_URL='{broker_url}'\nexport POINTS_DATABASE_URL='{database_url}'\n"
        )
        sys.stdout.flush()
        while True:
            signal.pause()


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except PaybellError as error:
        _say(f"paybell.testing: {error}")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
