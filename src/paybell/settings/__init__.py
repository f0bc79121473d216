"""All settings: each owner's, collected, and read once at start."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from paybell.channels.settings import ChannelSettings
from paybell.console.settings import CashierSettings
from paybell.environment.reading import read_section
from paybell.reconciliation.settings import ReconciliationSettings
from paybell.trade.settings import TradeSettings

# api: wallets and pay orders. background: what follows a payment (relay, deadlines, posting to
# balances, sealing, retention). trade: orders and their listeners. ops: console and comparison of both sides.
ROLES = frozenset({"api", "background", "trade", "ops"})


@dataclass(frozen=True, kw_only=True)
class Settings(ChannelSettings, TradeSettings, ReconciliationSettings, CashierSettings):
    """Every setting; unit, default and rules stand with its owner. Generated into `docs/settings.md`."""


def read_settings(environ: Mapping[str, str] = os.environ, **overrides: object) -> Settings:
    """Read the settings from the environment; ``overrides`` are field names and win.

    Raises:
        Misconfigured: a value is not of its documented form, or the rules between them are broken.
    """
    return read_section(Settings, environ, **overrides)
