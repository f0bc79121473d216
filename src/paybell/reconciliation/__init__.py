"""Lays what pay and trade have written down side by side, and has mended what differs."""
