"""Certificate mode: both sides are named to Alipay's gateway by their certificates."""

from collections.abc import Mapping, Sequence
from typing import Any

from paybell.channels.crypto import AppCertificate, PrivateKey, RootCertificates
from paybell.channels.keyring import Keyring
from paybell.errors import Misconfigured


class Certificates:
    """Ours and Alipay's roots; empty in key mode."""

    def __init__(self, app: Keyring[AppCertificate], roots: Keyring[RootCertificates]) -> None:
        """Take both, or two empty ones."""
        self._app, self._roots = app, roots

    @property
    def keyrings(self) -> Sequence[Keyring[Any]]:
        """What is read again while running."""
        return [ring for ring in (self._app, self._roots) if ring]

    def fields(self, key: PrivateKey) -> Mapping[str, str]:
        """Return what a request signed with this key says besides.

        Raises:
            Misconfigured: there is no certificate of this key.
        """
        if not self._app:
            return {}
        for _, one in self._app.all:
            if one.public.fingerprint == key.public.fingerprint:
                return {"app_cert_sn": one.name, "alipay_root_cert_sn": self._roots.newest.name}
        raise Misconfigured(
            f"{self._app.setting} has no certificate of the newest private key; "
            "download it from Alipay's console."
        )


KEY_MODE = Certificates(Keyring("", "", AppCertificate), Keyring("", "", RootCertificates))
