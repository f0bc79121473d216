"""The order service: its own database, its own routes; it knows payments by HTTP and message only."""
