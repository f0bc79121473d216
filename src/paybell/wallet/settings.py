"""The settings of the ledger and of pay passwords."""

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from paybell.environment.common import CommonSettings


@dataclass(frozen=True, kw_only=True)
class WalletSettings(CommonSettings):
    """The keys that wallets are kept with."""

    pin_pepper: Annotated[
        str,
        Meta(
            description="Keys of the pay-password MAC as id:secret, newest first, separated by commas; "
            "a secret alone has the id 1. Each is as long as PAYBELL_JWT_SECRET."
        ),
    ] = ""
    seal_keys: Annotated[
        str,
        Meta(
            description="Keys of the seals over transfers, as id:secret of at least 32 bytes, newest first, "
            "separated by commas, for the background role and paybell verify; empty: seals are not keyed."
        ),
    ] = ""
