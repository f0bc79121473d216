"""Which published messages a broker has answered for: pure counting, so that any order can be tried.

RabbitMQ answers by delivery tag, singly or for all up to a tag (``multiple``), and out of order
as soon as one message goes to disk and its neighbour to no queue at all
(https://www.rabbitmq.com/docs/confirms).
"""

from collections import deque
from collections.abc import Callable, Sequence

from paybell.messaging.broker import Confirm


class Published:
    """A batch on its way; each message is UNKNOWN until it is answered for."""

    __slots__ = ("_answered", "_covered", "_message_ids", "_missing", "confirms", "first_tag", "last_tag")

    def __init__(self, first_tag: int, message_ids: Sequence[str], answered: Callable[[], object]) -> None:
        """Made by `ConfirmLedger.publish`."""
        self.first_tag = first_tag
        self.last_tag = first_tag + len(message_ids) - 1
        self.confirms = [Confirm.UNKNOWN] * len(message_ids)
        self._message_ids = message_ids
        self._answered = answered
        self._missing = len(message_ids)
        self._covered = 0  # all before this index are answered for

    def answer(self, tag: int, confirm: Confirm, returned: set[str]) -> None:
        """Answer for one message."""
        self._note(tag - self.first_tag, confirm, returned)
        self._finish()

    def answer_up_to(self, tag: int, confirm: Confirm, returned: set[str]) -> None:
        """Answer for all messages up to one that have no answer yet."""
        start, end = self._covered, min(tag, self.last_tag) - self.first_tag + 1
        if start >= end:
            return
        if not returned and self._missing == len(self.confirms) - start:  # none of these was answered singly
            self.confirms[start:end] = [confirm] * (end - start)
            self._missing -= end - start
        else:
            for index in range(start, end):
                self._note(index, confirm, returned)
        self._covered = end
        self._finish()

    def _note(self, index: int, confirm: Confirm, returned: set[str]) -> None:
        if self.confirms[index] is not Confirm.UNKNOWN:
            return
        self.confirms[index] = confirm
        self._missing -= 1
        if returned and self._message_ids[index] in returned:
            returned.discard(self._message_ids[index])
            self.confirms[index] = Confirm.RETURNED

    @property
    def complete(self) -> bool:
        """Say whether every message is answered for."""
        return not self._missing

    def _finish(self) -> None:
        if self.complete:
            self._answered()


class ConfirmLedger:
    """The books of one channel in confirm mode: tags count up from 1 with each publish."""

    def __init__(self) -> None:
        self._last_tag = 0
        self._waiting: deque[Published] = deque()
        self._returned: set[str] = set()

    def publish(self, message_ids: Sequence[str], answered: Callable[[], object]) -> Published:
        """Count a batch in; ``answered`` is called when the last of it has its answer."""
        batch = Published(self._last_tag + 1, message_ids, answered)
        self._last_tag = batch.last_tag
        self._waiting.append(batch)
        return batch

    def take_back(self, message_id: str) -> None:
        """Note that a message found no queue; its confirm follows and does not mean success."""
        self._returned.add(message_id)

    def answer(self, tag: int, confirm: Confirm, multiple: bool) -> None:
        """Take the broker's answer for a tag, or for all tags up to it that have none."""
        for batch in self._waiting:
            if batch.first_tag > tag:
                break
            if batch.complete:
                continue
            if multiple:
                batch.answer_up_to(tag, confirm, self._returned)
            elif tag <= batch.last_tag:
                batch.answer(tag, confirm, self._returned)
        while self._waiting and self._waiting[0].complete:
            self._waiting.popleft()
