"""The answers of an operation: its result, and its problems by status and code."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import msgspec

from gateway.api.contract import problem_members
from gateway.api.contract.endpoints import AnyEndpoint, Endpoint
from gateway.api.contract.problem_members import MEMBERS
from gateway.api.contract.problems import CATALOGUE, CONTENT_TYPE
from gateway.api.description.examples import example_of

Json = dict[str, Any]
SCHEMA = "#/components/schemas/{name}"
# Problems of every call; the endpoints' `codes` omit them.
ANY_CALL = ("malformed", "rate_limited", "overloaded", "internal")
ANY_GUARDED_CALL = ("unauthenticated", "forbidden")

_EVENTS = "text/event-stream"
_TEXT: Json = {"type": "string"}
_SECONDS: Json = {"type": "integer", "minimum": 0}
_HEADERS: dict[str, tuple[str, Json]] = {
    "X-Request-Id": ("The caller's own id if well-formed, else a new id; the logs name it.",
                     {"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,64}$"}),
    "Location": ("The URL of what was made, or goes on.",
                 {"type": "string", "format": "uri-reference"}),
    "ETag": ("The sale's version; send it as If-Match.",
             {"type": "string", "pattern": '^"[0-9]+(-[A-Za-z0-9_-]*)?"$'}),
    "Idempotent-Replayed": ("Present when the request had taken effect before.", {"const": "true"}),
    "Cache-Control": ("How long a cache may keep the answer.", _TEXT),
    "Vary": ("The request headers that the answer depends on.", _TEXT),
    "Content-Disposition": ("The file name.", _TEXT),
    "Content-Security-Policy": ("Nothing from other origins is loaded.", _TEXT),
    "Retry-After": ("Seconds to wait, spread so that callers do not return together.", _SECONDS),
    "RateLimit": ("What remains of the quota that is closest to its limit.", _TEXT),
    "RateLimit-Policy": ("The quotas.", _TEXT),
    "WWW-Authenticate": ("The scheme, Bearer.", _TEXT),
}  # fmt: skip
_ALWAYS_THERE = frozenset({"X-Request-Id", "ETag", "Retry-After", "WWW-Authenticate"})
_OF_STATUS = {
    401: ("WWW-Authenticate",),
    429: ("Retry-After", "RateLimit", "RateLimit-Policy"),
    503: ("Retry-After",),
}
# Headers of a success by its status, besides those of the endpoint.
_OF_SUCCESS = {202: ("Location", "Retry-After")}
_SAID = {
    200: "Done",
    201: "Created",
    202: "It goes on: ask at `Location` how far it is",
    304: "The caller's copy is current",
}


def header_components() -> Json:
    """The description of every header that an answer may carry."""
    return {
        name: {"description": said, "required": name in _ALWAYS_THERE, "schema": schema}
        for name, (said, schema) in _HEADERS.items()
    }


def problem_components() -> Json:
    """A schema for the problems of each code, based on the schema of all problems."""
    types = {problem_members.Problem, *MEMBERS.values()}
    _, components = msgspec.json.schema_components(
        sorted(types, key=lambda type_: type_.__name__), ref_template=SCHEMA
    )
    for kind in CATALOGUE.values():
        parts = [ref("Problem")]
        if kind.code in MEMBERS:
            parts.append(ref(MEMBERS[kind.code].__name__))
        components[_problem_name(kind.code)] = {
            "description": f"{kind.title}.",
            "allOf": parts,
            "properties": {
                "type": {"const": f"urn:dropgate:problem:{kind.code}"},
                "title": {"const": kind.title},
                "status": {"const": kind.status},
                "code": {"const": kind.code},
            },
        }
    return components


def responses(endpoint: AnyEndpoint) -> Json:
    """Every answer of an operation, by status."""
    status = endpoint.status if isinstance(endpoint, Endpoint) else 200
    found: dict[int, Json] = {
        each: _done(endpoint, each) for each in (status, *endpoint.also_statuses)
    }
    for problem_status, codes in _problems(endpoint).items():
        problem = _problem(problem_status, codes)
        if problem_status in found:  # a success of this call has this status too
            problem["content"] |= found[problem_status]["content"]
            problem["headers"] = {"X-Request-Id": _header("X-Request-Id")}
        found[problem_status] = problem
    return {str(each): found[each] for each in sorted(found)}


def _done(endpoint: AnyEndpoint, status: int) -> Json:
    names = ("X-Request-Id", *endpoint.answer_headers, *_OF_SUCCESS.get(status, ()))
    answer: Json = {
        "description": _SAID.get(status, endpoint.summary),
        "headers": {name: _header(name) for name in names},
    }
    if status == 304:
        return answer
    if endpoint.media_type == _EVENTS and endpoint.answer is not None:
        return answer | {"content": {_EVENTS: {"schema": _event(endpoint.answer)}}}
    schema = _TEXT if endpoint.media_type.startswith("text/") else {"type": "object"}
    content: Json = {endpoint.media_type: {"schema": schema}}
    if endpoint.answer is not None:
        content[endpoint.media_type]["schema"] = ref(endpoint.answer.__name__)
        example = example_of(endpoint.answer, status)
        if example is not None:
            content[endpoint.media_type]["example"] = example
    for media_type in endpoint.also_as if isinstance(endpoint, Endpoint) else ():
        content[media_type] = {"schema": _TEXT}
    return answer | {"content": content}


def _event(data: type) -> Json:
    """A server-sent event; an event with a problem is the last of its stream."""
    told = [ref(data.__name__), ref("Problem")]
    return {
        "type": "object",
        "required": ["event", "data"],
        "properties": {
            "event": {"type": "string"},
            "id": {"type": "string"},
            "data": {
                "type": "string",
                "contentMediaType": "application/json",
                "contentSchema": {"oneOf": told},
            },
        },
    }


def _problems(endpoint: AnyEndpoint) -> dict[int, list[str]]:
    codes = {*endpoint.codes, *ANY_CALL}
    if isinstance(endpoint, Endpoint):
        codes |= set(ANY_GUARDED_CALL)
    by_status: defaultdict[int, list[str]] = defaultdict(list)
    for code, kind in CATALOGUE.items():
        if code in codes:
            by_status[kind.status].append(code)
    return by_status


def _problem(status: int, codes: Iterable[str]) -> Json:
    names = [_problem_name(code) for code in codes]
    schema: Json = ref(names[0])
    if len(names) > 1:
        schema = {
            "oneOf": [ref(name) for name in names],
            "discriminator": {
                "propertyName": "code",
                "mapping": {
                    code: SCHEMA.format(name=name) for code, name in zip(codes, names, strict=True)
                },
            },
        }
    return {
        "description": " or ".join(f"`{code}`" for code in codes),
        "headers": {name: _header(name) for name in ("X-Request-Id", *_OF_STATUS.get(status, ()))},
        "content": {CONTENT_TYPE: {"schema": schema}},
    }


def _problem_name(code: str) -> str:
    return "".join(word.capitalize() for word in code.split("_")) + "Problem"


def ref(name: str) -> Json:
    """A reference to a schema."""
    return {"$ref": SCHEMA.format(name=name)}


def _header(name: str) -> Json:
    if name not in _HEADERS:
        raise KeyError(name)
    return {"$ref": f"#/components/headers/{name}"}
