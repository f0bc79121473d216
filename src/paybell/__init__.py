"""Paybell pays an order out of a balance and makes sure that everybody who must hear of it does."""

__version__ = "0.1.0"
