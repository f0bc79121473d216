"""Amounts: whole minor units of an ISO 4217 currency. Floats have no place here."""

from paybell.errors import InvalidAmount, UnknownCurrency

# Totals of an account are 64-bit; 10^15 (ten thousand billion yuan) for one movement leaves
# room for thousands of the largest ones and stays exact in every consumer, JavaScript included.
AMOUNT_MAX = 10**15
TOTAL_MAX = 2**63 - 1

DEFAULT_CURRENCY = "CNY"

# ISO 4217 active codes by number of decimal digits of the minor unit; the others have two.
_NO_DIGITS = frozenset("BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF".split())
_THREE_DIGITS = frozenset("BHD IQD JOD KWD LYD OMR TND".split())
_TWO_DIGITS = frozenset(
    """
    AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF
    CNY COP CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL
    HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT
    MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB
    SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH
    USD UYU UZS VES WST XCD YER ZAR ZMW ZWG
    """.split()
)
CURRENCIES = _NO_DIGITS | _TWO_DIGITS | _THREE_DIGITS


def check_amount(amount: object) -> int:
    """Return ``amount`` if it is a whole number of minor units from 1 to 10^15.

    Raises:
        InvalidAmount: it is anything else, a float or a bool included.
    """
    if type(amount) is not int or not 1 <= amount <= AMOUNT_MAX:
        raise InvalidAmount
    return amount


def check_currency(currency: str) -> str:
    """Return ``currency`` if ISO 4217 knows it.

    Raises:
        UnknownCurrency: it does not.
    """
    if currency not in CURRENCIES:
        raise UnknownCurrency(field="currency")
    return currency


def digits_of(currency: str) -> int:
    """Return how many decimal digits a currency's minor unit has, by ISO 4217."""
    return 0 if currency in _NO_DIGITS else 3 if currency in _THREE_DIGITS else 2


def format_amount(amount: int, currency: str) -> str:
    """Write minor units for people: ``format_amount(1177, "USD")`` is ``"11.77 USD"``."""
    digits = digits_of(currency)
    sign, whole = ("-", -amount) if amount < 0 else ("", amount)
    if not digits:
        return f"{sign}{whole:,} {currency}"
    major, minor = divmod(whole, 10**digits)
    return f"{sign}{major:,}.{minor:0{digits}d} {currency}"
