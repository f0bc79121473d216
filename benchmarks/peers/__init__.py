"""The contenders, each in its own file."""
