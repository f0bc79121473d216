"""Who calls the service for demo, replay and samples: a shop's backend and its buyers, by our own secret."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from paybell_client import InsufficientScope, NotAuthenticated, PaybellClient, Problem
from paybell_client import Unavailable as Away

from paybell.clock import Clock
from paybell.errors import InvalidRequest, Misconfigured, Unavailable
from paybell.tokens import OwnTokens, Tokens

# What the shop's backend may do; buyers' tokens carry no scope at all.
SHOP = "paybell-shop"
SHOP_SCOPES = (
    "wallets:write",
    "wallets:read",
    "orders:write",
    "orders:read",
    "pay-orders:write",
    "refunds:write",
)
# What is wrong with all calls and not with one.
TOKENS_REFUSED = (NotAuthenticated, InsufficientScope)


class Callers:
    """The shop's backend and all its buyers, over the same connections."""

    def __init__(self, client: PaybellClient, tokens: OwnTokens, shop: str) -> None:
        """Use `callers`."""
        self._tokens = tokens
        self.shop = client.acting_as(partial(tokens.token, shop, *SHOP_SCOPES))

    def buyer(self, user_id: str) -> PaybellClient:
        """Return a client that calls as this user."""
        return self.shop.acting_as(partial(self._tokens.token, user_id))


@asynccontextmanager
async def callers(
    url: str,
    tokens: Tokens,
    clock: Clock,
    *,
    connections: int = 64,
    retry_seconds: float = 20.0,
    shop: str = SHOP,
) -> AsyncIterator[Callers]:
    """Keep at most ``connections`` to the service at ``url``.

    Args:
        url: http://… or https://….
        tokens: mints with the service's own secret.
        clock: measures token lifetimes.
        connections: at most; further requests wait for a free one.
        retry_seconds: how long a request is sent again.
        shop: the name of the shop's backend, as the service sees it.

    Raises:
        InvalidRequest: the URL is none.
        Misconfigured: the service does not take our tokens.
        Unavailable: it is away for longer, or refuses what nobody expected it to refuse.
    """
    own = OwnTokens(tokens, clock)
    async with AsyncExitStack() as stack:
        opened = PaybellClient.open(url, "", connections=connections, retry_seconds=retry_seconds)
        try:
            client = await stack.enter_async_context(opened)
        except ValueError as error:
            raise InvalidRequest(str(error)) from error
        try:
            yield Callers(client, own, shop)
        except TOKENS_REFUSED as error:
            raise Misconfigured(
                f"The service at {url} does not accept our tokens: set the PAYBELL_JWT_SECRET it has, "
                "or the same PAYBELL_HOME."
            ) from error
        except Away as error:
            raise Unavailable(f"{error} Run the same command again when it is back.") from error
        except Problem as error:
            raise Unavailable(f"The service at {url} refuses: {error}") from error
