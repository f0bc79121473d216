"""The pay order: applied for, paid out of a balance, closed."""
