"""Paybell pays an order out of a balance and makes sure that everybody who needs to know is notified."""

__version__ = "0.1.0"
