"""What is wrong with a set-up, one module for each part of it, and what to do about it."""
