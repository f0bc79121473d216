"""The OpenAPI document: what the framework generates, with what its readers need."""

from typing import Any

import msgspec
from litestar import Litestar, Request
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme
from litestar.routes import HTTPRoute

IDEMPOTENCY_KEY, KEY_PATTERN = "Idempotency-Key", "^[!-~]{1,255}$"
QUERY = "query"  # in a route's ``opt``: the names of its query parameters


def openapi_config() -> OpenAPIConfig:
    """Return what the document says of all routes, and where it is."""
    bearer = SecurityScheme(type="http", scheme="bearer", bearer_format="JWT")
    return OpenAPIConfig(
        title="Paybell",
        version="1",
        description="Pays orders out of balances. Amounts are integers in minor units, ids are strings.",
        path="/schema",
        render_plugins=[_Document(path=["/", "/openapi.json"])],
        components=Components(security_schemes={"bearer": bearer}),
    )


def note_queries(app: Litestar) -> None:
    """Write down at each route which query parameters it has, for `paybell.web.queries.check_query`."""
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            for handler, model in route.route_handler_map.values():
                names = frozenset(parameter.field_alias for parameter in model.expected_query_params)
                handler.opt[QUERY] = names


class _Document(JsonRenderPlugin):
    """Says what the framework cannot.

    Defaults stand in words: generators of clients demand members that have a ``default``. Keys of idempotency
    are demanded: the framework may not insist on them, because their refusal has a code of its own.
    """

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        for schema in openapi_schema["components"]["schemas"].values():
            properties = schema.get("properties", {})
            schema["properties"] = {name: _in_words(member) for name, member in properties.items()}
        for operations in openapi_schema["paths"].values():
            for operation in operations.values():
                for parameter in operation.get("parameters", ()):
                    if parameter["name"] == IDEMPOTENCY_KEY:
                        parameter |= {"required": True, "schema": {"type": "string", "pattern": KEY_PATTERN}}
        return self.render_json(request, openapi_schema)


def _in_words(member: dict[str, Any]) -> dict[str, Any]:
    if "default" not in member:
        return member
    default = msgspec.json.encode(member["default"]).decode()
    words = f"{member.get('description', '')} Without it: {default}.".strip()
    return {name: value for name, value in member.items() if name != "default"} | {"description": words}
