"""The pages and their files: plain HTML, CSS and ES modules out of the package, no build step.

A page is the same for everybody and holds no data; it asks the HTTP API with the token it was opened
with. Why the token comes in the fragment: `docs/decisions/pages.md`.
"""

import hashlib
import json
from collections.abc import Collection, Mapping
from importlib.resources import files
from typing import Any

from litestar import Request, Response, get
from litestar.exceptions import NotFoundException
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from paybell.console.api_page import API_PAGE_POLICY, SWAGGER_FILES, swagger_file
from paybell.console.settings import CashierSettings
from paybell.money import CURRENCIES, digits_of

_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
# The pages of the console are one document, which reads from its address what it shows.
_CONSOLE_PAGES = frozenset({"payments", "attempts", "dead-letters", "books", "audit"})
_WITH_ONES = frozenset({"payments", "attempts"})
# Nothing inline, nothing from elsewhere, in nobody's frame.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
_HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",  # asked for again, answered with 304: a new version shows at once
}


def page_routes(shop: CashierSettings, classes: Collection[str]) -> list[HTTPRouteHandler]:
    """Return the routes of both pages and of what they load; no token is needed for these.

    Args:
        shop: whose cashier it is.
        classes: of the cashier's body, see `Parts.cashier`.
    """
    folders = [folder for folder in (files(__package__) / "static").iterdir() if folder.is_dir()]
    contents = {
        f"{folder.name}/{file.name}": file.read_bytes() for folder in folders for file in folder.iterdir()
    }
    contents["shared/currencies.js"] = _currencies()
    console_page = contents.pop("operations/console.html")
    contents["cashier/shop.js"] = _shop(shop)
    body = f'<body class="{" ".join(sorted(classes))}">'.encode()
    contents["cashier/cashier.html"] = contents["cashier/cashier.html"].replace(b"<body>", body)

    def serve(request: Request[Any, Any, Any], name: str) -> Response[bytes]:
        if name not in contents:
            raise NotFoundException
        return _answer(request, name, contents[name])

    @get("/cashier/{order_id:str}", include_in_schema=False)
    async def cashier(request: Request[Any, Any, Any], order_id: FromPath[str]) -> Response[bytes]:
        del order_id  # the page reads it from its own address
        return serve(request, "cashier/cashier.html")

    @get(["/console", "/console/{page:str}", "/console/{page:str}/{name:str}"], include_in_schema=False)
    async def console(
        request: Request[Any, Any, Any], page: FromPath[str] = "", name: FromPath[str] = ""
    ) -> Response[bytes]:
        if (page and page not in _CONSOLE_PAGES) or (name and page not in _WITH_ONES):
            raise NotFoundException
        # Relative, because the service may stand below a path of a proxy; by the address as it was asked for.
        root = b"../" * (request.scope["raw_path"].count(b"/") - 1)
        return _answer(request, "console.html", console_page.replace(b"{root}", root))

    @get("/pages/{folder:str}/{name:str}", include_in_schema=False)
    async def page_file(
        request: Request[Any, Any, Any], folder: FromPath[str], name: FromPath[str]
    ) -> Response[bytes]:
        return serve(request, f"{folder}/{name}")

    return [cashier, console, page_file, *_start_routes(contents)]


def _start_routes(contents: Mapping[str, bytes]) -> list[HTTPRouteHandler]:
    """Return the routes of what says what is here, and of the API's interactive page."""

    @get("/", include_in_schema=False)
    async def start(request: Request[Any, Any, Any]) -> Response[bytes]:
        return _answer(request, "start.html", contents["start/start.html"])

    @get("/api", include_in_schema=False)
    async def api(request: Request[Any, Any, Any]) -> Response[bytes]:
        return _answer(request, "api.html", contents["start/api.html"], API_PAGE_POLICY)

    @get("/api/{name:str}", include_in_schema=False)
    async def api_file(request: Request[Any, Any, Any], name: FromPath[str]) -> Response[bytes]:
        if name not in SWAGGER_FILES:
            raise NotFoundException
        return _answer(request, name, swagger_file(name), API_PAGE_POLICY)

    return [start, api, api_file]


def _answer(
    request: Request[Any, Any, Any], name: str, content: bytes, policy: str = _POLICY
) -> Response[bytes]:
    tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
    headers = {**_HEADERS, "Content-Security-Policy": policy, "ETag": tag}
    if request.headers.get("if-none-match") == tag:
        return Response(b"", status_code=304, headers=headers)
    return Response(content, media_type=_TYPES[name.rpartition(".")[2]], headers=headers)


def _currencies() -> bytes:
    """Return the decimals of each currency as we count them: browsers follow the customs of countries."""
    digits = {currency: digits_of(currency) for currency in sorted(CURRENCIES)}
    return f"export const digits = {json.dumps(digits)};\n".encode()


def _shop(shop: CashierSettings) -> bytes:
    """Return whose cashier it is, and where it may lead back to."""
    known = {"name": shop.shop_name, "returnOrigins": shop.allowed_origins}
    return f"export const shop = {json.dumps(known)};\n".encode()
