"""Something bad is sent over HTTP: it is refused, and nothing changes."""

import json
from collections.abc import Mapping

from serving import Reply, Service, fresh_number, state


def pay_order(**members: object) -> dict[str, object]:
    """Return a body that is right but for these members."""
    return {"bizOrderNo": str(fresh_number()), "payerId": "7", "amount": 5, **members}


async def refused(
    service: Service, path: str, body: object, *, headers: Mapping[str, str] | None = None
) -> Reply:
    """Post something bad with every scope there is, and make sure that nothing changed."""
    before = await state(service)
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    reply = await service.client.send("POST", path, service.client.shop, data=data, headers=headers)
    assert 400 <= reply.status < 500, reply.content
    assert (await state(service)).follows(before)
    return reply
