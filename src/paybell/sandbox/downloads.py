"""What a simulated channel has ready for download: bills at addresses that are good for a short time."""

import secrets
from datetime import datetime, timedelta

# Alipay's are good for 30 seconds, WeChat's for five minutes.
_GOOD_FOR = timedelta(seconds=30)


class Downloads:
    """Files by the token that stands in their address."""

    def __init__(self) -> None:
        self._files: dict[str, tuple[bytes, datetime]] = {}

    def offer(self, content: bytes, now: datetime) -> str:
        """Keep a file for a while and return its token."""
        self._files = {token: file for token, file in self._files.items() if now < file[1]}
        token = secrets.token_urlsafe(32)
        self._files[token] = content, now + _GOOD_FOR
        return token

    def take(self, token: str, now: datetime) -> bytes | None:
        """Return the file, None if there is none or its time is over."""
        content, until = self._files.get(token, (b"", now))
        return content if now < until else None
