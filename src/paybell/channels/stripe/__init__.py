"""Stripe: Checkout sessions over form-encoded calls, webhooks with an HMAC."""
