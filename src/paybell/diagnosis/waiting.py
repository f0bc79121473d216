"""What waits in the databases, by the limits of the console."""

from collections.abc import AsyncIterator, Mapping

from paybell.clock import Clock
from paybell.diagnosis.findings import Finding, State
from paybell.messaging.failures import FailureStore
from paybell.messaging.outbox import Outbox
from paybell.operations.samples import Trouble
from paybell.operations.sampling import Sampler
from paybell.operations.troubles import OUTBOX_MOST_SECONDS
from paybell.settings import Settings
from paybell.storage import Database

# Troubles that the databases show: part, how bad, what, and what to do; ``{figure}`` and ``{where}`` are
# the trouble's.
_WORDS: Mapping[str, tuple[str, State, str, str]] = {
    "outbox_old": (
        "outbox",
        "error",
        "{pending:,} events wait, the oldest for {figure:.0f} s",
        "Start a relay (paybell serve --role background) and see that it reaches the broker.",
    ),
    "messages_refused": (
        "refused messages",
        "error",
        "RabbitMQ refuses messages at {where}; {figure:,.0f} events wait",
        (
            "A full queue: have its owner consume it, or unbind it. 403: give the user of "
            "PAYBELL_BROKER_URL the right (rabbitmqctl set_permissions, set_topic_permissions). 404, or no "
            "queue: start a relay that may declare it. The events are kept and tried again by themselves."
        ),
    ),
    "old_snapshot": (
        "pay database",
        "warning",
        "a transaction has kept its snapshot for {figure:,.0f} s; what was removed since stays in the tables",
        "Find it in pg_stat_activity by xact_start; let a dump or paybell verify end, end a forgotten one.",
    ),
    "overdue": (
        "deadlines",
        "error",
        "a pay order has been past its deadline for {figure:.0f} s and is not closed",
        "Start the background work (paybell serve --role background).",
    ),
    "differences": (
        "books",
        "warning",
        "pay and trade differ on {figure:,.0f} purchases",
        "What was not delivered is republished by itself; paybell reconcile shows what stays.",
    ),
    "dead_letters": (
        "dead letters",
        "warning",
        "{figure:,.0f} messages were given up",
        "See paybell dead-letters list; replay or acknowledge them: none is removed before.",
    ),
}


async def examine_waiting(
    settings: Settings, urls: Mapping[str, str], clock: Clock
) -> AsyncIterator[Finding]:
    """Take one sample as the console does, and name what it names; of one database, what waits there."""
    if len(urls) == 1:
        yield await (_outbox(urls["pay"], clock) if "pay" in urls else _dead_letters(urls["trade"], clock))
        return
    async with (
        Database.open(urls["pay"], clock, connections=2, wait_seconds=2) as pay,
        Database.open(urls["trade"], clock, connections=2, wait_seconds=2) as trade,
    ):
        sampler = Sampler(pay, trade, None, clock, settings.merchant_id)
        sample = await sampler.take()
    pending = sample.outbox_pending or 0
    found = {one.code for one in sample.troubles}
    if "outbox_old" not in found:
        yield Finding("outbox", "ok", f"{pending:,} events wait")
    if "dead_letters" not in found:
        yield Finding("dead letters", "ok", f"none; {sample.retries or 0:,} are tried again by themselves")
    for code in _WORDS:
        for one in sample.troubles:
            if one.code == code:
                yield _said(one, pending)


async def _outbox(url: str, clock: Clock) -> Finding:
    async with Database.open(url, clock, connections=1, wait_seconds=2) as pay:
        pending, oldest = await Outbox(pay).state()
    if oldest > OUTBOX_MOST_SECONDS:
        return _said(Trouble("outbox_old", oldest), pending)
    return Finding("outbox", "ok", f"{pending:,} events wait")


async def _dead_letters(url: str, clock: Clock) -> Finding:
    async with Database.open(url, clock, connections=1, wait_seconds=2) as trade:
        counts = await FailureStore(trade).counts()
    if counts["dead"]:
        return _said(Trouble("dead_letters", counts["dead"]), 0)
    return Finding("dead letters", "ok", f"none; {counts['retry']:,} are tried again by themselves")


def _said(trouble: Trouble, pending: int) -> Finding:
    part, state, what, advice = _WORDS[trouble.code]
    text = what.format(figure=trouble.figure, where=trouble.part, pending=pending)
    return Finding(part, state, text, advice)
