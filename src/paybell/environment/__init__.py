"""How settings are read from the environment, and those that every process has."""
