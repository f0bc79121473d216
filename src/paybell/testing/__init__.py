"""For tests, ours and our users': time that stands still, ids that count, a broker that can be bad."""

from paybell.testing.parts import FaultyBroker, FrozenClock, SequentialIds

__all__ = ["FaultyBroker", "FrozenClock", "SequentialIds"]
