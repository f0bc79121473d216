"""What operators see: how everything stands now, one payment's way, and what to do about what is stuck."""
