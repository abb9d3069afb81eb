"""The sale that every benchmark sells from, and the request that reserves one unit of it.

`machine/buyers.lua` sends the same request from wrk.
"""

SKU = "BENCH"
RESERVE_PATH = "/v1/sales/{sale}/reservations"
RESERVE_BODY = b'{"lines":[{"sku":"BENCH","quantity":1}]}'
# More units than any contestant sells in the time of a run.
AMPLE_STOCK = 100_000_000


def reserve_request(sale_id: str, authority: str, token: str, key: str) -> bytes:
    """One buyer's request for one unit, with this Idempotency-Key, ready to be sent."""
    head = (
        f"POST {RESERVE_PATH.format(sale=sale_id)} HTTP/1.1\r\nHost: {authority}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(RESERVE_BODY)}\r\n"
        f"Authorization: Bearer {token}\r\nIdempotency-Key: {key}\r\n\r\n"
    )
    return head.encode() + RESERVE_BODY
