"""Places in a waiting room: joined, looked at, waited for and used, as buyers do it over HTTP."""

from typing import Any

from tests.support.api import Api, Reply
from tests.support.servers import unique
from tests.support.waiting import wait_until

ROOM = {"max_active_buyers": 2, "admission_seconds": 600}
# One buyer at a time.
NARROW_ROOM = ROOM | {"max_active_buyers": 1}


async def join(api: Api, sale: str, buyer: str, **headers: str) -> Reply:
    return await api.buyer(buyer, "POST", f"/v1/sales/{sale}/queue", **headers)


async def look(api: Api, sale: str, buyer: str, ticket: str) -> Reply:
    return await api.buyer(buyer, "GET", f"/v1/sales/{sale}/queue", Queue_Ticket=ticket)


async def place(api: Api, sale: str, buyer: str) -> dict[str, Any]:
    joined = await join(api, sale, buyer)
    assert joined.status == 200, joined.raw
    return joined.body


async def admitted(api: Api, sale: str, buyer: str, ticket: str) -> str:
    """The admission token, as soon as there is one."""

    async def token() -> object:
        answer = await look(api, sale, buyer, ticket)
        return answer.status == 200 and answer.body["admission_token"]

    return str(await wait_until(token, f"{buyer} is admitted"))


async def reserve(api: Api, sale: str, buyer: str, token: str = "", key: str = "") -> Reply:
    headers = {"Idempotency_Key": key or unique("key")}
    if token:
        headers["Admission_Token"] = token
    body = {"lines": [{"sku": "shirt", "quantity": 1}]}
    return await api.buyer(buyer, "POST", f"/v1/sales/{sale}/reservations", body, **headers)
