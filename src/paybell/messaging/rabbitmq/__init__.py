"""RabbitMQ: a `Broker` that speaks to it, and a private node for demos and tests."""
