"""Proves that the books of pay are right: ledger, orders, refunds, outbox, and the chain over transfers."""
