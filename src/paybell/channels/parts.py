"""What money from elsewhere adds to a process: attempts and notices over HTTP; queries and returns behind."""

from collections.abc import Sequence
from functools import partial

from paybell.channels import disputes, store
from paybell.channels.channel import Kind
from paybell.channels.chaser import CHASE_MAX
from paybell.channels.http import ChannelHttp
from paybell.channels.keyring import KEYS_SECONDS, KeyFiles
from paybell.channels.lines import lines_of
from paybell.channels.notices import Notices
from paybell.channels.openers import OPENERS
from paybell.channels.operator_routes import operator_routes
from paybell.channels.payments import AttemptService
from paybell.channels.problems import PROBLEMS
from paybell.channels.recorder import Recorder
from paybell.channels.returns import RETURNS_MAX, ReturnSender
from paybell.channels.routes import attempt_routes, notice_routes, wallet_payment_routes
from paybell.channels.settings import ChannelSettings
from paybell.channels.windows import WindowCloser
from paybell.parts import Host, Parts
from paybell.storage import Database
from paybell.telemetry.metrics import Measured
from paybell.worker import Loop


async def channels_parts(host: Host) -> Parts:
    """Return them for the roles of this process."""
    parts = Parts(problems=PROBLEMS)
    if host.roles.isdisjoint({"api", "background", "ops"}):
        return parts
    settings, database = host.settings_of(ChannelSettings), await host.database("pay")
    http = await host.open(ChannelHttp.open())
    opened = [one for opener in OPENERS if (one := opener(settings, http, host.clock)) is not None]
    recorder = Recorder(
        database, await host.outbox(), {one.name: one for one in opened}, margin=settings.deadline_margin
    )
    lines = lines_of(database, recorder, opened, host.clock)
    host.releasing.append(WindowCloser(database, lines).close)
    if "api" in host.roles:
        ids = await host.ids("pay")
        service = AttemptService(
            database,
            recorder,
            ids,
            lines,
            host.clock.now,
            notify_url=settings.notify_url,
            return_url=settings.return_url,
            window_margin=settings.window_margin,
        )
        notices = Notices(database, recorder, lines, host.clock, host.observer)
        parts.services.append(service)
        parts.routers.append(attempt_routes(service))
        parts.cashier |= {"more-methods" for one in opened if one.kind is Kind.WINDOW}
        parts.open_routers.append(notice_routes(notices))
        if settings.wallet_url:
            parts.routers.append(wallet_payment_routes(service))
            parts.cashier.add("remote-wallet")
    if "background" in host.roles:
        outbox, due = await host.outbox(), await host.due("pay")
        parts.measures.append(partial(_measure_attempts, await host.watching("pay")))
        for line in lines.values():
            sender = ReturnSender(database, outbox, line.channel, line.circuit, settings.returns)
            name = line.channel.name
            parts.loops += [
                due.loop(f"attempts-{name}", line.chaser.run_once, store.ATTEMPTS_DUE, name, full=CHASE_MAX),
                due.loop(f"returns-{name}", sender.run_once, store.RETURNS_DUE, full=RETURNS_MAX),
            ]
    if keyrings := [ring for one in opened for ring in getattr(one, "keyrings", ())]:
        parts.loops.append(
            Loop("channel-keys", KeyFiles(keyrings).run_once, wake=host.read_again, idle_seconds=KEYS_SECONDS)
        )
    if "ops" in host.roles:
        outbox = await host.outbox()
        parts.routers.append(operator_routes(database, outbox, host.clock, settings.merchant_id))
    return parts


async def _measure_attempts(database: Database) -> Sequence[Measured]:
    live, open_disputes = await store.count_live(database), await disputes.count_open(database)
    return [
        *(Measured("attempts", count, (channel, state)) for channel, state, count in live),
        *(Measured("disputes", count, (channel,)) for channel, count in open_disputes),
    ]
