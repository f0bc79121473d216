"""The page on which a person "scans and pays"."""

from html import escape

from aiohttp import web

from paybell.money import format_amount
from paybell.sandbox.books import Trade, TradeState

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>{title}</title>
<style>body{{font:1rem/1.5 system-ui,sans-serif;max-width:40rem;margin:2rem auto;padding:0 1rem}}
button{{font:inherit;padding:.5rem 1.5rem}}td{{padding:.25rem 1rem .25rem 0}}</style>
<main><h1>{title}</h1>{content}</main></html>"""


def pay_page(trade: Trade, channel: str) -> web.Response:
    """Return the page of one window: what it is for, and a button that pays it."""
    amount = escape(format_amount(trade.amount, trade.currency.upper()))
    content = f"<p>{escape(trade.subject)}<br><strong>{amount}</strong></p>"
    if trade.state is TradeState.OPEN:
        content += (
            f'<form method="post" action="/sandbox/{channel}/pay/{trade.token}">'
            "<button autofocus>Pay (simulated)</button></form>"
        )
    else:
        content += f"<p>This payment is {trade.state.value.lower()}.</p>"
    if trade.return_url:
        content += f'<p><a href="{escape(trade.return_url)}">Back to the shop</a></p>'
    return _html(f"Sandbox of {channel}", content)


def overview_page(trades: list[tuple[str, Trade]]) -> web.Response:
    """Return the page of all windows, the newest first: scanning is done with one's eyes."""
    rows = "".join(
        f"<tr><td>{channel}<td>{escape(trade.subject)}"
        f"<td>{escape(format_amount(trade.amount, trade.currency.upper()))}<td>{trade.state.value.lower()}"
        f'<td><a href="/sandbox/{channel}/pay/{trade.token}">open</a>'
        for channel, trade in trades
    )
    empty = "<p>Nobody has begun to pay. Windows appear here when they are opened.</p>"
    return _html("Sandbox of the channels", f"<table>{rows}</table>" if rows else empty)


def _html(title: str, content: str) -> web.Response:
    return web.Response(text=_PAGE.format(title=title, content=content), content_type="text/html")
