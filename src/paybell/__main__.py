"""``python -m paybell``."""

from paybell.cli import main

if __name__ == "__main__":
    main()
