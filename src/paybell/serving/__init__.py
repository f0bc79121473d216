"""The life of a process: HTTP in front, loops behind, workers, embedded databases, an orderly end."""
