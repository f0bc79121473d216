"""Accounts, transfers and pay passwords: the double-entry ledger and what users see of it."""
