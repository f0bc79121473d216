"""Idempotency keys and the answers kept for them."""
