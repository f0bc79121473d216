"""RSA signatures and AES-GCM as the channels use them; the one module that knows `cryptography`."""

import base64
import binascii
import hashlib
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

# Both channels ask for 2048 bits; less is broken, much more only burns our CPU for a stranger.
_BITS_MIN, _BITS_MAX = 2048, 8192
AES_KEY_BYTES = 32
_NONCE_BYTES = 12
# PKCS #1; a root file holds others beside, such as SM2.
_RSA_SIGNATURES = "1.2.840.113549.1.1."


class BadKey(ValueError):
    """A text that is no key of the kind that is needed; the message never holds the text."""


class PrivateKey:
    """An RSA key that signs (SHA-256, PKCS#1 v1.5)."""

    def __init__(self, text: str) -> None:
        """Read PEM, or the bare base64 (PKCS#1 or PKCS#8) that Alipay's key tool writes.

        Raises:
            BadKey: it is neither, needs a password, or is not RSA of 2048 to 8192 bits.
        """
        try:
            key = (
                serialization.load_pem_private_key(text.encode(), None)
                if "-----BEGIN" in text
                else serialization.load_der_private_key(_bare(text), None)
            )
        except (ValueError, TypeError) as error:
            raise BadKey("no unencrypted private key in PEM or base64") from error
        if not isinstance(key, rsa.RSAPrivateKey) or not _BITS_MIN <= key.key_size <= _BITS_MAX:
            raise BadKey(f"not an RSA key of {_BITS_MIN} to {_BITS_MAX} bits")
        self._key = key
        self.public = PublicKey(_pem(key.public_key()))

    def sign(self, message: bytes) -> str:
        """Return the signature in base64."""
        return base64.b64encode(self._key.sign(message, padding.PKCS1v15(), hashes.SHA256())).decode()

    def __repr__(self) -> str:
        return f"PrivateKey({self.public.fingerprint})"


class PublicKey:
    """An RSA key that verifies, bare or out of a certificate."""

    def __init__(self, text: str) -> None:
        """Read a certificate or a public key in PEM, or a public key in bare base64.

        Raises:
            BadKey: it is none of these, or not RSA of 2048 to 8192 bits.
        """
        self.serial = ""
        self.ends_at: datetime | None = None
        key: object
        try:
            if "BEGIN CERTIFICATE" in text:
                certificate = x509.load_pem_x509_certificate(text.encode())
                # As WeChat writes it in Wechatpay-Serial.
                self.serial = f"{certificate.serial_number:X}"
                self.ends_at = certificate.not_valid_after_utc
                key = certificate.public_key()
            elif "-----BEGIN" in text:
                key = serialization.load_pem_public_key(text.encode())
            else:
                key = serialization.load_der_public_key(_bare(text))
        except (ValueError, TypeError) as error:
            raise BadKey("no public key and no certificate in PEM or base64") from error
        if not isinstance(key, rsa.RSAPublicKey) or not _BITS_MIN <= key.key_size <= _BITS_MAX:
            raise BadKey(f"not an RSA key of {_BITS_MIN} to {_BITS_MAX} bits")
        self._key = key

    @property
    def fingerprint(self) -> str:
        """The first 16 hex digits of the key's SHA-256: names it to people without showing it."""
        digest = hashes.Hash(hashes.SHA256())
        digest.update(_der(self._key))
        return digest.finalize().hex()[:16]

    def verifies(self, signature: str, message: bytes) -> bool:
        """Say whether a base64 signature is this key's of this message."""
        try:
            self._key.verify(
                base64.b64decode(signature, validate=True), message, padding.PKCS1v15(), hashes.SHA256()
            )
        except (InvalidSignature, binascii.Error, ValueError):
            return False
        return True

    def __repr__(self) -> str:
        return f"PublicKey({self.serial or self.fingerprint})"


class AppCertificate:
    """A certificate of ours, by which a channel knows the key that signs."""

    def __init__(self, text: str) -> None:
        """Read PEM.

        Raises:
            BadKey: it is no certificate of an RSA key.
        """
        if "BEGIN CERTIFICATE" not in text:
            raise BadKey("no certificate in PEM")
        self.public = PublicKey(text)
        self.name = _named_by_issuer(x509.load_pem_x509_certificate(text.encode()))

    def __repr__(self) -> str:
        return f"AppCertificate({self.name})"


class RootCertificates:
    """A file of a channel's root certificates; ``name`` stands for those with RSA signatures."""

    def __init__(self, text: str) -> None:
        """Read PEM.

        Raises:
            BadKey: there is no certificate with such a signature.
        """
        try:
            certificates = x509.load_pem_x509_certificates(text.encode())
        except ValueError as error:
            raise BadKey("no certificates in PEM") from error
        self.name = "_".join(
            _named_by_issuer(one)
            for one in certificates
            if one.signature_algorithm_oid.dotted_string.startswith(_RSA_SIGNATURES)
        )
        if not self.name:
            raise BadKey("no certificate with an RSA signature")

    def __repr__(self) -> str:
        return f"RootCertificates({self.name})"


class AesKey:
    """A key of AES-256-GCM."""

    def __init__(self, text: str) -> None:
        """Take the 32 characters that the merchant chose at the channel.

        Raises:
            BadKey: it has another length.
        """
        if len(text.encode()) != AES_KEY_BYTES:
            raise BadKey(f"not {AES_KEY_BYTES} bytes")
        self._cipher = AESGCM(text.encode())

    def decrypted(self, ciphertext: str, nonce: str, associated: str) -> bytes | None:
        """Return the plaintext of base64 whose last 16 bytes are the tag; None if it is not this key's."""
        try:
            if len(nonce.encode()) != _NONCE_BYTES:
                return None
            raw = base64.b64decode(ciphertext, validate=True)
            return self._cipher.decrypt(nonce.encode(), raw, associated.encode())
        except (InvalidTag, binascii.Error, ValueError):
            return None

    def encrypted(self, plaintext: bytes, nonce: str, associated: str) -> str:
        """Return base64 of ciphertext and tag; each nonce (12 bytes) is used once."""
        return base64.b64encode(self._cipher.encrypt(nonce.encode(), plaintext, associated.encode())).decode()

    def __repr__(self) -> str:
        return "AesKey()"


def _named_by_issuer(certificate: x509.Certificate) -> str:
    # What Alipay calls a certificate's SN: MD5 over the issuer's name (RFC 4514) and the serial number. It
    # names a certificate and protects nothing.
    name = f"{certificate.issuer.rfc4514_string()}{certificate.serial_number}"
    return hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()


def _bare(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except binascii.Error as error:
        raise ValueError("no base64") from error


def _der(key: rsa.RSAPublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _pem(key: rsa.RSAPublicKey) -> str:
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ).decode()
