"""What schemathesis must know about a run: its tokens, its sales, and rules beyond schemas.

Loaded by schemathesis itself in a process of its own, so what a run is about comes in a file named
by the environment. The document is narrowed, never widened: the SKUs, the buyer and the sales that
are there take the place of any that could be, so that requests get past the first check and links
have something to follow. Whatever is sent beyond that must still be refused as documented.
"""

import os
import re
from pathlib import Path
from typing import Any

import msgspec
import schemathesis
from schemathesis.core.failures import Failure
from schemathesis.openapi.checks import RejectedPositiveData

from tests.contract.run import ENVIRONMENT, Run

RUN = msgspec.json.decode(Path(os.environ[ENVIRONMENT]).read_bytes(), type=Run)

# Valid by the schema, refused all the same: rules between fields or over time, by code and detail.
BEYOND_SCHEMAS = (
    ("idempotency_key_reused", r"."),
    ("invalid", r"cursor: "),  # opaque: only a page hands out valid cursors
    ("invalid", r"Invalid RFC3339 encoded datetime"),  # JSON Schema does not check formats
    ("invalid", r"items: price times"),
    ("invalid", r"items: each sku|items: all prices|items: at most 1000 pairs|items?:? \S+: "),
    ("invalid", r"closes_at: must be after|opens_at: |closes_at: |waiting_room"),
    ("invalid", r"prequeue_at: |cooldown"),
    ("invalid", r"partitions: this version"),
    ("invalid", r"delta: zero units|delta: an account holds"),
    ("invalid", r"lines: more than was reserved"),
)


@schemathesis.auth(refresh_interval=None)
class Tokens:
    """The first token of the run that the operation takes, else the first there is."""

    def get(self, case: schemathesis.Case[Any], _context: schemathesis.AuthContext) -> str | None:
        needs = case.operation.definition.raw.get("security", ())
        taken = {name for need in needs for name in need}
        fitting = [token for scope, token in RUN.tokens.items() if scope in taken]
        return (*fitting, *RUN.tokens.values(), None)[0]

    def set(
        self, case: schemathesis.Case[Any], data: str | None, _context: schemathesis.AuthContext
    ) -> None:
        if data is not None:
            case.headers["Authorization"] = f"Bearer {data}"


@schemathesis.hook
def before_load_schema(_context: schemathesis.HookContext, raw_schema: dict[str, Any]) -> None:
    """Narrow the document to what there is."""
    schemas = raw_schema["components"]["schemas"]
    for name in ("LineBody", "AdjustBody"):
        schemas[name]["properties"] |= {
            "sku": {"enum": RUN.skus},
            "location": {"enum": [*RUN.locations, None]},
        }
    schemas["AdjustBody"]["required"].append("location")  # each SKU has several
    schemas["AdjustBody"]["properties"]["location"] = {"enum": RUN.locations}
    acts_for_itself = "buyer" in RUN.tokens
    reserve = schemas["ReserveBody"]
    if acts_for_itself:
        reserve["properties"]["buyer_id"] = {"enum": [RUN.buyer_id, None]}
    else:
        reserve["required"].append("buyer_id")
        (reserve["properties"]["buyer_id"],) = (
            kind for kind in reserve["properties"]["buyer_id"]["anyOf"] if kind["type"] == "string"
        )
    if RUN.plain_sales:
        _narrow_sales(schemas)
    for path, methods in raw_schema["paths"].items():
        sales = RUN.rooms if "/queue" in path else RUN.sales
        for operation in methods.values():
            _narrow_parameters(operation, sales, acts_for_itself=acts_for_itself)
            if RUN.forgets is not None:
                operation["responses"].pop(RUN.forgets, None)


def _narrow_parameters(
    operation: dict[str, Any], sales: tuple[str, ...], *, acts_for_itself: bool
) -> None:
    """Name what is there in path and query; a sale may be made under any name."""
    for parameter in operation["parameters"]:
        name = parameter["name"]
        if name == "sale" and operation["operationId"] != "sale_put":
            parameter["schema"] = {"enum": sales}
        elif name == "sku":
            parameter["schema"] = {"enum": RUN.skus}
        elif name == "buyer_id" and parameter["in"] == "query":
            parameter["required"] = not acts_for_itself
            if acts_for_itself:
                parameter["schema"] = {"enum": [RUN.buyer_id]}


def _narrow_sales(schemas: dict[str, Any]) -> None:
    """Only sales that can be opened, so that what comes after opening is reached."""
    item = schemas["ItemSpec"]
    item["properties"] = {
        "sku": {"enum": RUN.skus[:1]},
        "price": item["properties"]["price"],
        "stock": {"type": "integer", "minimum": 10, "maximum": 1000},
    }
    item["required"] = ["sku", "price", "stock"]
    spec = schemas["SaleSpec"]["properties"]
    spec["items"]["maxItems"] = 1
    for name in ("opens_at", "closes_at", "waiting_room", "partitions", "cooldown"):
        del spec[name]


@schemathesis.hook
def map_body(_context: schemathesis.HookContext, body: Any) -> Any:
    """JSON Schema takes 1.0 for an integer; the API does not, and says so in its reference."""
    if isinstance(body, dict):
        return {name: map_body(_context, inner) for name, inner in body.items()}
    if isinstance(body, list):
        return [map_body(_context, inner) for inner in body]
    return int(body) if isinstance(body, float) and body.is_integer() else body


@schemathesis.hook
def filter_failure(
    _context: schemathesis.HookContext,
    failure: Failure,
    _case: schemathesis.Case[Any],
    response: schemathesis.Response,
) -> bool:
    """Ignore refusals of requests that fit the schema but break a rule no schema can state."""
    if not isinstance(failure, RejectedPositiveData) or response.status_code != 422:
        return True
    body = response.json()
    return not any(
        body["code"] == code and re.match(said, body["detail"]) for code, said in BEYOND_SCHEMAS
    )


@schemathesis.check
def members_are_documented(
    _context: schemathesis.CheckContext,
    response: schemathesis.Response,
    case: schemathesis.Case[Any],
) -> None:
    """A problem says nothing that its code does not announce."""
    if not response.headers.get("content-type", [""])[0].startswith("application/problem+json"):
        return
    body = response.json()
    schemas = case.operation.schema.raw_schema["components"]["schemas"]
    name = "".join(word.capitalize() for word in body["code"].split("_")) + "Problem"
    known: set[str] = set()
    for part in schemas[name]["allOf"]:
        known |= set(schemas[part["$ref"].rpartition("/")[2]]["properties"])
    extra = set(body) - known
    assert not extra, f"undocumented members of {body['code']}: {sorted(extra)}"
