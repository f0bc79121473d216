"""The messages for those who write listeners: as an AsyncAPI document, and as a page for people."""

from dataclasses import dataclass, field
from typing import Any

import msgspec

from paybell.messaging.broker import Exchange
from paybell.messaging.events import (
    CLOUDEVENTS_JSON,
    EVENT_SOURCE,
    EVENT_TYPES,
    MERCHANT_HEADER,
    PAY_CLOSED,
    PAY_DIRECT,
    PAY_EVENTS,
    PAY_REFUNDED,
    PAY_SUCCESS,
    SIGNATURE_HEADER,
    PayOrderEvent,
)
from paybell.messaging.signatures import EventKeys, PaidOrder
from paybell.pay.status import PayStatus

ID = {"pattern": "^[1-9][0-9]{0,18}$"}
MOMENT = {"format": "date-time"}
WHOLE = {"format": "int64", "minimum": 0}
NUMBER = "383031925356367872"
EVENT_ID = "383031925519945728-2"
TIME = "2026-11-22T23:12:07.498235Z"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@dataclass(frozen=True, slots=True)
class Member:
    """What a schema made of types does not say: meaning, example, unit, and a closer form."""

    meaning: str
    example: Any
    unit: str = ""
    form: dict[str, Any] = field(default_factory=dict)

    def schema(self) -> dict[str, Any]:
        """Return it as JSON Schema; the unit is an extension."""
        unit = {"x-unit": self.unit} if self.unit else {}
        return {"description": self.meaning, **self.form, **unit, "examples": [self.example]}


DATA = {
    "payOrderId": Member("The pay order.", "383031925519945728", form=ID),
    "bizOrderNo": Member("The merchant's own number of the order.", NUMBER, form=ID),
    "merchantId": Member("Whose money it is.", "1"),
    "payerId": Member("Who pays.", "7"),
    "amount": Member("What the order comes to.", 1200, "minor units of `currency`", WHOLE),
    "currency": Member("A code of ISO 4217.", "CNY"),
    "subject": Member("What is paid for, as people were shown it; may be empty.", ""),
    "status": Member(
        "Where the pay order is.", "TRADE_SUCCESS", form={"enum": [status.name for status in PayStatus]}
    ),
    "version": Member("Grows with each change: ignore any lower than the last one applied.", 2, form=WHOLE),
    "createdAt": Member("When it was made.", "2026-11-22T23:12:07.418258Z", "RFC 3339, UTC", MOMENT),
    "expiresAt": Member("Until when it can be paid.", "2026-11-23T01:12:07.418258Z", "RFC 3339, UTC", MOMENT),
    "succeededAt": Member("When it was paid; null until it is.", TIME, "RFC 3339, UTC", MOMENT),
    "closedAt": Member("When it was closed; null if it was not.", None, "RFC 3339, UTC", MOMENT),
    "refundedAmount": Member("All that was given back so far.", 0, "minor units of `currency`", WHOLE),
    "channel": Member("Where the money came from; null until it has.", "balance"),
}
EVENT = {
    "id": Member("The pay order and its version: the same each time the event comes.", EVENT_ID),
    "type": Member("What happened; also the routing key.", PAY_SUCCESS, form={"enum": list(EVENT_TYPES)}),
    "time": Member("When it happened.", TIME, "RFC 3339, UTC", MOMENT),
    "subject": Member("The same as `data.bizOrderNo`.", NUMBER),
    "data": Member("The whole pay order after it.", {name: member.example for name, member in DATA.items()}),
    "traceparent": Member("The trace it belongs to (W3C Trace Context); may be missing.", TRACE),
    "source": Member("Who says it.", EVENT_SOURCE),
    "specversion": Member("The version of CloudEvents.", "1.0"),
    "datacontenttype": Member("What `data` is.", "application/json"),
}
EXAMPLE = {name: member.example for name, member in EVENT.items()}
# The key of the page on signatures, so that a reader's own code can be held against these examples.
KEYS = EventKeys("2026a:correct horse battery staple 0123456789")
TRACEPARENT = Member("The trace it belongs to; empty if there is none.", TRACE)
EVENT_HEADERS = {
    "traceparent": TRACEPARENT,
    SIGNATURE_HEADER: Member(
        "An HMAC of the body, see [how to verify it](how-to/verify-signatures.md).",
        KEYS.sign_event(msgspec.json.encode(EXAMPLE)),
    ),
}
NUMBER_HEADERS = {
    "__TypeId__": Member("The class that Spring's Jackson converter reads it as.", "java.lang.Long"),
    "cloudEvents:id": Member("The id of the typed event that says the same.", EVENT_ID),
    "cloudEvents:source": Member("Who says it.", EVENT_SOURCE),
    "cloudEvents:type": Member("What happened.", PAY_SUCCESS),
    "cloudEvents:time": Member("When it happened.", TIME, "RFC 3339, UTC", MOMENT),
    "cloudEvents:specversion": Member("The version of CloudEvents.", "1.0"),
    "traceparent": TRACEPARENT,
    MERCHANT_HEADER: Member("Whose payment it is.", "1"),
    SIGNATURE_HEADER: Member(
        "An HMAC of number, amount, currency and merchant.", KEYS.sign(PaidOrder("1", NUMBER, 1200, "CNY"))
    ),
}
WHEN = {
    PAY_SUCCESS: "A pay order was paid.",
    PAY_CLOSED: "A pay order was closed unpaid.",
    PAY_REFUNDED: "Some of a paid pay order, or all, was given back.",
}


def document() -> dict[str, Any]:
    """Return the messages as AsyncAPI (https://www.asyncapi.com/docs/reference/specification/v3.1.0)."""
    channels = {
        **{_name(key): _channel(key, PAY_EVENTS, "event", WHEN[key]) for key in EVENT_TYPES},
        "payDirect": _channel(PAY_SUCCESS, PAY_DIRECT, "number", "A pay order was paid; its number alone."),
    }
    schema, schemas = msgspec.json.schema_components(
        [PayOrderEvent], ref_template="#/components/schemas/{name}"
    )
    _describe(schemas["PayOrderEvent"], EVENT)
    _describe(schemas["PayOrderData"], DATA)
    order_number = Member(
        "The merchant's own number of the order, in ASCII digits.",
        int(NUMBER),
        form={"type": "integer", **WHOLE, "minimum": 1},
    )
    return {
        "asyncapi": "3.1.0",
        "info": {
            "title": "Paybell's messages",
            "version": "1",
            "description": "At least once; the id of an event is the same each time. See events.md.",
        },
        "defaultContentType": CLOUDEVENTS_JSON,
        "channels": channels,
        "operations": {
            f"tell{name[0].upper()}{name[1:]}": {"action": "send", "channel": {"$ref": f"#/channels/{name}"}}
            for name in channels
        },
        "components": {
            "messages": {
                "event": {
                    "name": "PayOrderEvent",
                    "title": "A pay order was paid, closed or refunded",
                    "contentType": CLOUDEVENTS_JSON,
                    "payload": schema[0],
                    "headers": _headers(EVENT_HEADERS),
                    "examples": [_example(EVENT_HEADERS, EXAMPLE)],
                },
                "number": {
                    "name": "PaidOrderNumber",
                    "title": "The number of an order that was paid, as unmodified Spring services read it",
                    "contentType": "text/x-json",
                    "payload": order_number.schema(),
                    "headers": _headers(NUMBER_HEADERS),
                    "examples": [_example(NUMBER_HEADERS, order_number.example)],
                },
            },
            "schemas": schemas,
        },
    }


def asyncapi_page() -> str:
    """Return the document as it stands in the repository."""
    return msgspec.json.format(msgspec.json.encode(document()), indent=2).decode() + "\n"


def _describe(schema: dict[str, Any], members: dict[str, Member]) -> None:
    """Say of each member what it means; what may be missing for us to read it is always there."""
    properties = schema["properties"]
    assert list(properties) == list(members)
    schema["required"] = [name for name in members if name != "traceparent"]
    for name, member in members.items():
        properties[name] = {**properties[name], **member.schema()}


def _headers(members: dict[str, Member]) -> dict[str, Any]:
    properties = {name: {"type": "string", **member.schema()} for name, member in members.items()}
    return {"type": "object", "required": list(members), "properties": properties}


def _example(headers: dict[str, Member], payload: object) -> dict[str, Any]:
    return {"headers": {name: member.example for name, member in headers.items()}, "payload": payload}


def _name(key: str) -> str:
    first, second = key.split(".")
    return first + second.capitalize()


def _channel(key: str, exchange: Exchange, message: str, meaning: str) -> dict[str, Any]:
    place = {"name": exchange.name, "type": exchange.type, "durable": True, "autoDelete": False, "vhost": "/"}
    return {
        "address": key,
        "description": meaning,
        "messages": {message: {"$ref": f"#/components/messages/{message}"}},
        "bindings": {"amqp": {"is": "routingKey", "exchange": place, "bindingVersion": "0.3.0"}},
    }


def messages_page() -> str:
    """Return the same document for people: channels, and each message with its headers and fields."""
    api = document()
    parts = [
        "# Messages",
        "",
        "What Paybell publishes, field by field. Generated from the AsyncAPI document ([asyncapi.json](asyncapi.json)), which generators of code and",
        "of documentation read; [Events](events.md) says what to make of them.",
        "",
        "| Routing key | Exchange | Message | When |",
        "|---|---|---|---|",
    ]
    for channel in api["channels"].values():
        place = channel["bindings"]["amqp"]["exchange"]
        name = next(iter(channel["messages"]))
        link = f"[{api['components']['messages'][name]['name']}](#{_anchor(api, name)})"
        parts.append(
            f"| `{channel['address']}` | `{place['name']}`, {place['type']}, durable | {link} | {channel['description']} |"
        )
    for message in api["components"]["messages"].values():
        parts += [
            "",
            f"## {message['name']}",
            "",
            f"{message['title']}. Content type `{message['contentType']}`.",
        ]
        parts += _table("Headers", message["headers"])
        if "$ref" in message["payload"]:
            schemas = api["components"]["schemas"]
            parts += _table("Body", schemas["PayOrderEvent"]) + _table(
                "`data`: the pay order", schemas["PayOrderData"]
            )
        else:
            parts += ["", message["payload"]["description"]]
        body = msgspec.json.format(msgspec.json.encode(message["examples"][0]["payload"]), indent=2).decode()
        parts += [
            "",
            "For example, signed without its white space under the key of the [test vectors](how-to/verify-signatures.md#test-vectors):",
            "",
            "```json",
            body,
            "```",
        ]
    return "\n".join(parts) + "\n"


def _anchor(api: dict[str, Any], message: str) -> str:
    return str(api["components"]["messages"][message]["name"]).lower()


def _table(title: str, schema: dict[str, Any]) -> list[str]:
    rows = ["", f"### {title}", "", "| Name | Type | Unit | Example | Meaning |", "|---|---|---|---|---|"]
    for name, member in schema["properties"].items():
        value = member["examples"][0]
        example = "" if isinstance(value, dict) else f"`{msgspec.json.encode(value).decode()}`"
        rows.append(
            f"| `{name}` | {_type(member)} | {member.get('x-unit', '')} | {example} | {member['description']} |"
        )
    return rows


def _type(member: dict[str, Any]) -> str:
    if "$ref" in member:
        return "object"
    kinds = [kind["type"] for kind in member.get("anyOf", [member])]
    if choices := member.get("enum"):
        return ", ".join(f"`{choice}`" for choice in choices)
    return " or ".join(kinds)
