"""Publishing with confirms: one channel for all, and a way around whatever ends it.

RabbitMQ answers a message that it does not publish by ending the channel, which leaves everything behind it
unanswered, and does not say which message it was. A Basic.Return always comes before the Basic.Ack of the
same message (https://www.rabbitmq.com/docs/confirms) and is matched by its unique message_id.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

from paybell.batching import bisect
from paybell.messaging.broker import Answer, Confirm, Denied, Message, Route
from paybell.messaging.rabbitmq.channel import ACCESS_REFUSED, NOT_FOUND, Channel, ChannelRefused
from paybell.messaging.rabbitmq.confirms import ConfirmLedger
from paybell.messaging.rabbitmq.link import Link


class ChannelEnded(Exception):
    """RabbitMQ has ended the channel because of one of the messages."""

    def __init__(self, refusal: ChannelRefused, confirms: Sequence[Confirm]) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal
        self.confirms = confirms


class Publisher:
    """A channel in confirm mode; a new one counts from 1 again."""

    def __init__(self, channel: Channel) -> None:
        """Use `Publisher.open`."""
        self.link = channel.link
        self._channel = channel
        self._ledger = ConfirmLedger()

    @classmethod
    async def open(cls, link: Link) -> "Publisher":
        """Open a channel of this link for publishing.

        Raises:
            BrokerUnavailable: the connection is gone.
        """
        publisher = cls(await Channel.open(link))
        await publisher._channel.confirm(publisher._ledger.answer, publisher._ledger.take_back)
        return publisher

    @property
    def usable(self) -> bool:
        """Say whether the channel is open, as far as we know."""
        return not (self.link.lost.done() or self._channel.ended.done())

    async def publish(self, messages: Sequence[Message], deadline_seconds: float) -> Sequence[Confirm]:
        """Publish a batch, all at once, and return what became of each.

        Raises:
            BrokerUnavailable: the channel is closed; nothing was sent.
            ChannelEnded: RabbitMQ refuses one of these, or one that somebody else publishes here.
        """
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._channel.publish(messages)
        ids = [message.message_id for message in messages]
        batch = self._ledger.publish(ids, partial(answered.set_result, None))
        ends: list[asyncio.Future[Any]] = [answered, self.link.lost, self._channel.ended]
        await asyncio.wait(ends, timeout=deadline_seconds, return_when=asyncio.FIRST_COMPLETED)
        if not answered.done() and (refusal := self._channel.refusal) is not None:
            raise ChannelEnded(refusal, list(batch.confirms))
        # Under an alarm the connection is as good as any, and on a new one everything would go out once
        # more. Otherwise it may be dead.
        if not answered.done() and not self.link.blocked:
            self.link.lose("confirms did not come in time")
        return list(batch.confirms)

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()


async def publish_around(
    link: Link, messages: Sequence[Message], ended: ChannelEnded, deadline_seconds: float
) -> Sequence[Answer]:
    """Publish what a channel left unanswered when it ended, and find the messages that RabbitMQ refuses.

    Each try has a channel of its own, so that nobody else's message is taken for one of these, and what
    has an answer is not published again.
    """
    sifting = _Sifting(link, asyncio.get_running_loop().time() + deadline_seconds)
    sifting.note(messages, ended.confirms)
    await bisect(sifting.publish, messages, lambda error: isinstance(error, ChannelEnded))
    return [sifting.answer(one) or Confirm.UNKNOWN for one in messages]


class _Sifting:
    """What is known of the messages of a batch while those that RabbitMQ refuses are looked for."""

    def __init__(self, link: Link, until: float) -> None:
        self._link = link
        self._until = until
        self._answers: dict[str, Answer] = {}
        # Refused for where they go and not for what they are: the next one is not worth a channel.
        self._routes: dict[Route, Denied] = {}

    def answer(self, message: Message) -> Answer | None:
        return self._answers.get(message.message_id) or self._routes.get(message.route)

    def note(self, messages: Sequence[Message], confirms: Sequence[Confirm]) -> None:
        for message, confirm in zip(messages, confirms, strict=True):
            if confirm is not Confirm.UNKNOWN:
                self._answers[message.message_id] = confirm

    async def publish(self, part: Sequence[Message]) -> Sequence[Message]:
        left = [one for one in part if self.answer(one) is None]
        seconds = self._until - asyncio.get_running_loop().time()
        if not left or seconds <= 0:
            return part
        publisher = await Publisher.open(self._link)
        try:
            self.note(left, await publisher.publish(left, seconds))
        except ChannelEnded as ended:
            self.note(left, ended.confirms)
            if len(left) == 1:
                self._deny(left[0], ended.refusal)
            raise
        finally:
            publisher.close()
        return part

    def _deny(self, message: Message, refusal: ChannelRefused) -> None:
        denied = Denied(refusal.code, str(refusal))
        if refusal.code in (ACCESS_REFUSED, NOT_FOUND):
            self._routes[message.route] = denied
        else:
            self._answers[message.message_id] = denied
