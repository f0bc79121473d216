"""Paybell beside what anyone would use instead, measured in one run: ``make bench``."""
