"""Paybell attacked over HTTP: requests from its own description, and hostile connections."""
