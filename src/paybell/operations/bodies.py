"""What a message holds, shown to people."""


def readable(body: bytes) -> str | None:
    """Return a body as text; None if it is not text that can be shown."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return None
    return text if text.isprintable() else None
