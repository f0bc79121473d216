"""The HTTP edge: routes, problems, health, metrics, OpenAPI."""
