"""What the ledger adds to a process: wallets and statements over HTTP; postings and seals behind."""

from paybell.parts import Host, Parts
from paybell.wallet.ledger import POST_MAX, POSTINGS_DUE, BalancePoster
from paybell.wallet.pay_password import Pepper
from paybell.wallet.pay_password_routes import pay_password_routes
from paybell.wallet.pay_password_service import PayPasswordService
from paybell.wallet.problems import PROBLEMS
from paybell.wallet.routes import wallet_routes
from paybell.wallet.seal_keys import SealKeys
from paybell.wallet.sealing import SEAL_MAX, SEALS_DUE, TransferSealer
from paybell.wallet.service import WalletService
from paybell.wallet.settings import WalletSettings
from paybell.wallet.statement_routes import statement_routes
from paybell.wallet.statements import Statements

# Nothing waits for a posting: whoever needs a merchant's balance posts what is pending first.
_POST_REST_SECONDS = 1.0
# Each block is up to a second's transfers.
_SEAL_REST_SECONDS = 1.0


async def wallet_parts(host: Host) -> Parts:
    """Return them for the roles of this process."""
    parts, settings = Parts(problems=PROBLEMS), host.settings_of(WalletSettings)
    if "api" in host.roles:
        database = await host.database("pay")
        pepper = Pepper(settings.pin_pepper)
        wallets = WalletService(database, pepper)
        pay_passwords = PayPasswordService(database, pepper)
        statements = Statements(database)
        parts.services += [wallets, pay_passwords, statements]
        merchant_id = settings.merchant_id
        parts.routers += [
            wallet_routes(wallets, merchant_id),
            pay_password_routes(pay_passwords, merchant_id),
            *statement_routes(statements, merchant_id),
        ]
    if "background" in host.roles:
        database, due = await host.database("pay"), await host.due("pay")
        parts.loops += [
            due.loop(
                "posting-folder",
                BalancePoster(database).run_once,
                POSTINGS_DUE,
                full=POST_MAX,
                rest_seconds=_POST_REST_SECONDS,
            ),
            due.loop(
                "transfer-sealer",
                TransferSealer(database, SealKeys(settings.seal_keys)).run_once,
                SEALS_DUE,
                full=SEAL_MAX,
                rest_seconds=_SEAL_REST_SECONDS,
            ),
        ]
    return parts
