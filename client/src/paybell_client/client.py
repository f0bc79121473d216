"""The client of a shop: order, pay, wait until it is confirmed, give back.

Amounts are integers in minor units, ids strings of digits (numbers do where they are handed in).
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from paybell_client.orders import OrderCalls
from paybell_client.pay_orders import PayOrderCalls
from paybell_client.transport import Token, Transport
from paybell_client.wallets import WalletCalls


class PaybellClient(WalletCalls, OrderCalls, PayOrderCalls):
    """One caller of Paybell: a shop's backend, or with another token one of its buyers.

    All calls raise `Problem` when the service refuses and `Unavailable` when it is away for longer than the
    client tries. Those that change something may be repeated after either: see each for what it is known by.
    """

    __slots__ = ()

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        url: str,
        token: Token,
        *,
        connections: int = 64,
        retry_seconds: float = 20.0,
        timeout_seconds: float = 10.0,
    ) -> AsyncIterator["PaybellClient"]:
        """Open a client that closes its connections in the end.

        Args:
            url: http://… or https://….
            token: a bearer token, or what returns one; that is asked before every try.
            connections: at most; further requests wait for a free one.
            retry_seconds: how long a request is sent again before `Unavailable` is raised.
            timeout_seconds: how long one try may take.

        Raises:
            ValueError: the URL is none.
        """
        async with Transport.open(
            url, connections=connections, retry_seconds=retry_seconds, timeout_seconds=timeout_seconds
        ) as transport:
            yield cls(transport, token)

    def acting_as(self, token: Token) -> "PaybellClient":
        """Return the same client for another caller, over the same connections; it costs nothing."""
        return PaybellClient(self._transport, token)
