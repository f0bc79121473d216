"""``paybell wallet``: for whoever implements the contract of a remote wallet."""

import os

import cyclopts
from rich.text import Text

from paybell.channels.conformance import Payer, WalletCheck
from paybell.channels.http import ChannelHttp
from paybell.cli.options import Flag
from paybell.cli.output import out, print_json
from paybell.environment.common import is_base_url
from paybell.errors import InvalidRequest
from paybell.money import DEFAULT_CURRENCY, check_currency

wallet = cyclopts.App(name="wallet", help="Check a remote wallet of your own; see docs/remote-wallet.md.")


@wallet.command
async def check(
    url: str,
    /,
    *,
    user: str,
    pay_password: str,
    currency: str = DEFAULT_CURRENCY,
    json: Flag = False,
) -> int:
    """Say what is wrong with a user service that is to keep the contract; exit code 0 when nothing is.

    It debits one minor unit from a user and gives it back. The token it sends is PAYBELL_WALLET_TOKEN.

    Args:
        url: of the service.
        user: a user with at least two minor units.
        pay_password: this user's.
        currency: of this user's balance.
        json: end with one JSON line.
    """
    if not is_base_url(url):
        raise InvalidRequest(f"The URL of a service starts with http:// or https://, not {url[:100]!r}.")
    payer = Payer(user, pay_password, check_currency(currency))
    async with ChannelHttp.open() as http:
        asked = WalletCheck(http, url, os.environ.get("PAYBELL_WALLET_TOKEN", ""), payer)
        findings = [one async for one in asked.run()]
    wrong = [one for one in findings if one.wrong]
    if json:
        print_json({"rules": len(findings), "wrong": {one.rule: one.wrong for one in wrong}})
        return bool(wrong)
    for one in findings:
        mark, style = ("no ", "bold red") if one.wrong else ("yes", "green")
        out.print(Text.assemble((mark, style), f" {one.rule}", f": {one.wrong}" if one.wrong else ""))
    out.print(f"{len(findings) - len(wrong)} of {len(findings)} rules are kept.")
    return bool(wrong)
