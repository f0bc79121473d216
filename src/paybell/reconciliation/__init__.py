"""Compares what pay and trade have recorded, and has what was not delivered published again."""
