"""The settings of pay orders."""

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from paybell.messaging.settings import MessagingSettings
from paybell.wallet.settings import WalletSettings


@dataclass(frozen=True, kw_only=True)
class PaySettings(WalletSettings, MessagingSettings):
    """What pay orders are set to, with the wallets they are paid from and the events they publish."""

    wallet_url: Annotated[
        str,
        Meta(
            description="A user service that holds the balances (docs/remote-wallet.md); empty: Paybell's "
            "own wallets. Only when every process runs a release that knows it."
        ),
    ] = ""
    order_ttl_seconds: Annotated[
        int, Meta(ge=1, le=2_592_000, description="Deadline of a pay order that names none, in seconds.")
    ] = 7200
    settle_batch_max: Annotated[int, Meta(ge=1, le=4096, description="Most payments in one transaction.")] = (
        256
    )
    idempotency_days: Annotated[
        int, Meta(ge=1, le=3650, description="How long the answers of idempotency keys are kept.")
    ] = 30
