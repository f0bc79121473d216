"""Simulators of Alipay, WeChat Pay and Stripe: real signatures, books of their own, faults on demand."""
