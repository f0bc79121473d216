"""Where a demo runs: a folder that is gone afterwards, and a broker."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from paybell.cli.output import agreed, announce
from paybell.storage.embedded import embedded_postgres, temporary_home
from paybell.testing.rabbitmq_node import find_or_start
from paybell.testing.system_packages import only_in_ci

Broker = Literal["local", "rabbitmq"]


@contextmanager
def demo_home() -> Iterator[Path]:
    """Make a folder that is gone afterwards; of a demo that failed the service's log is kept."""
    with temporary_home("paybell-demo-") as home:
        try:
            yield home
        except Exception:
            if (home / "postgres" / "postmaster.pid").exists():  # the service was killed; its server was not
                with embedded_postgres(home):
                    pass
            if (home / "service.log").exists():
                announce(f"The service's log is kept as {shutil.move(home / 'service.log', f'{home}.log')}.")
            raise


@contextmanager
def demo_broker(broker: Broker, *, yes: bool) -> Iterator[str]:
    """Yield the URL of a broker of this kind; with ``yes`` nobody is asked whether one may be installed."""
    if broker == "local":
        yield "local:"
        return
    with find_or_start(announce, lambda question: yes or only_in_ci(question) or agreed(question)) as url:
        yield url
