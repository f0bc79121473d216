"""Putting money into wallets: many top-ups share one transaction, each with its own outcome."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from paybell.batching import Batcher, bisect, is_no_outage
from paybell.errors import Busy
from paybell.idempotency.errors import IdempotencyKeyReused
from paybell.idempotency.keys import IdempotencyKey, KeptAnswer, first_answers, keep_answers
from paybell.money import TOTAL_MAX, check_amount
from paybell.storage import ConstraintViolated, Database, Transaction, load_queries
from paybell.wallet import ledger
from paybell.wallet.errors import BalanceLimit, WalletNotFound
from paybell.wallet.ledger import Transfer, TransferKind
from paybell.wallet.model import Wallet

_SQL = load_queries(__package__)
# Where top-ups come from: one account for each currency, standing for the world outside.
_FUNDING_OWNER = "paybell"
Outcome = tuple[KeptAnswer, bool]
# (user id, currency)
Owner = tuple[str, str]


@dataclass(frozen=True, slots=True)
class TopUp:
    """Money on its way into a wallet, in minor units; without a currency into the one a user sees first.

    ``show`` makes the answer that is kept; a bank's statement is matched by ``reference``, else by the key.
    """

    user_id: str
    amount: int
    currency: str | None
    key: IdempotencyKey
    show: Callable[[Wallet], KeptAnswer]
    reference: str | None = None

    def name(self, caller: str | None = None) -> str:
        """Name its transfer; neither a user id nor a key has spaces, so no two come out the same."""
        return f"{self.user_id} {self.key.key} {caller or self.key.merchant_id}"

    @property
    def former_names(self) -> list[str]:
        """What its transfer would be called if an earlier release had made it."""
        return [self.name(caller) for caller in self.key.callers[1:]]


class TopUps:
    """Makes each once for its key."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._batches = Batcher(self._make_batch)

    async def make(self, top_up: TopUp) -> Outcome:
        """Return the answer, and whether it is that of an earlier request.

        Raises:
            WalletNotFound, InvalidAmount, BalanceLimit, IdempotencyKeyInUse, IdempotencyKeyReused, Busy.
        """
        check_amount(top_up.amount)
        try:
            return await self._database.until_free(lambda: self._batches.submit(top_up))
        except ConstraintViolated as error:
            if error.name == "transfer_once":  # its answer was removed, the money had come
                raise IdempotencyKeyReused from error
            raise

    async def _make_batch(self, top_ups: Sequence[TopUp]) -> Sequence[Outcome | Exception]:
        return await bisect(self._make, top_ups, is_no_outage)

    async def _make(self, top_ups: Sequence[TopUp]) -> Sequence[Outcome | Exception]:
        async with self._database.transaction() as tx:
            outcomes: list[Outcome | Exception | None] = [
                (answer, True) if isinstance(answer, KeptAnswer) else answer
                for answer in await first_answers(tx, [one.key for one in top_ups])
            ]
            places = [place for place, outcome in enumerate(outcomes) if outcome is None]
            if places:
                made = await _fund(tx, [top_ups[place] for place in places])
                for place, outcome in zip(places, made, strict=True):
                    outcomes[place] = outcome
        return [outcome for outcome in outcomes if outcome is not None]


async def _fund(tx: Transaction, top_ups: Sequence[TopUp]) -> Sequence[Outcome | Exception]:
    """Move the money of those that nothing stands against, and keep their answers."""
    owners = await _find_owners(tx, top_ups)
    removed = await _find_made(tx, [name for one in top_ups for name in one.former_names])
    wanted = {owner for owner in owners if owner}
    wallets, busy = await ledger.lock_free_wallets(tx, wanted)
    wanted_funding = {(_FUNDING_OWNER, currency) for _, currency in wanted}
    funding = await ledger.system_accounts(tx, "funding", wanted_funding)
    added: Counter[Owner] = Counter()
    outcomes: list[Outcome | Exception] = []
    made: list[tuple[TopUp, KeptAnswer]] = []
    transfers: list[Transfer] = []
    for one, owner in zip(top_ups, owners, strict=True):
        if owner is None:
            outcomes.append(WalletNotFound())
        elif removed.intersection(one.former_names):  # its answer was removed, the money had come
            outcomes.append(IdempotencyKeyReused())
        elif owner in busy:
            outcomes.append(Busy())
        elif (account := wallets[owner]).credits + added[owner] + one.amount > TOTAL_MAX:
            outcomes.append(BalanceLimit())
        else:
            added[owner] += one.amount
            source = funding[_FUNDING_OWNER, account.currency]
            transfers.append(
                Transfer(TransferKind.TOP_UP, one.name(), source, account.account_id, one.amount)
            )
            answer = one.show(Wallet(one.user_id, account.balance + added[owner], account.currency))
            made.append((one, answer))
            outcomes.append((answer, False))
    await ledger.post(tx, transfers)
    await _keep_references(tx, [one for one, _ in made if one.reference is not None])
    await keep_answers(tx, [(one.key, answer) for one, answer in made])
    return outcomes


async def _find_owners(tx: Transaction, top_ups: Sequence[TopUp]) -> Sequence[Owner | None]:
    """Return the wallet each goes into, None where there is none."""
    users, currencies = [one.user_id for one in top_ups], [one.currency for one in top_ups]
    found = {
        row["place"]: (row["owner_id"], row["currency"])
        for row in await tx.fetch(_SQL["find_top_up_wallets"], users, currencies)
    }
    return [found.get(place) for place in range(1, len(top_ups) + 1)]


async def _find_made(tx: Transaction, names: Sequence[str]) -> set[str]:
    return {row["reference"] for row in await tx.fetch(_SQL["find_top_ups"], names)} if names else set()


async def _keep_references(tx: Transaction, top_ups: Sequence[TopUp]) -> None:
    if top_ups:
        names, references = [one.name() for one in top_ups], [one.reference for one in top_ups]
        await tx.execute(_SQL["keep_top_up_references"], names, references)
