"""``paybell sandbox``: simulators of Alipay, WeChat Pay and Stripe to try channels on, without an account."""

import asyncio
from typing import Annotated

from cyclopts import Parameter, validators

from paybell.cli.output import announce, out
from paybell.clock import SystemClock
from paybell.environment.reading import variable_of
from paybell.errors import Misconfigured
from paybell.sandbox.setup import Setup
from paybell.settings import read_settings


async def sandbox(
    *,
    port: Annotated[int, Parameter(validator=validators.Number(gte=0, lte=65535))] = 8100,
    notify_url: str = "http://127.0.0.1:8000",
    speed: Annotated[float, Parameter(validator=validators.Number(gt=0, lte=1000))] = 1.0,
) -> int:
    """Serve simulators of all channels until Ctrl-C, on the loopback; print the settings for them.

    They sign and encrypt as the real ones do and keep books of what really moved. The page at / shows every
    window that is open, to pay it; faults are ordered at /sandbox/CHANNEL/faults, see docs/sandbox.md.
    Keys are kept in PAYBELL_HOME/sandbox.

    Args:
        port: of the simulators; 0 takes a free one.
        notify_url: where `paybell serve` listens, for notices.
        speed: how much faster their clock runs.
    """
    setup = Setup(read_settings().home / "sandbox", SystemClock(), speed)
    try:
        async with setup.sandbox.serving(port) as url:
            for name, value in setup.settings(url, notify_url.rstrip("/")).items():
                out.print(
                    f"export {variable_of(name)}='{value}'", soft_wrap=True, highlight=False, markup=False
                )
            announce(f"The sandbox of all channels is at {url}; start paybell serve with these settings.")
            await asyncio.Event().wait()
    except OSError as error:
        raise Misconfigured(f"Cannot listen on port {port} ({error.strerror}); set --port.") from error
    return 0
