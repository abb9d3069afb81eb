"""The OpenAPI 3.1 document, made from the endpoints and the types they take and give."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.api.problems import CATALOGUE
from gateway.api.routes import Endpoint, OpenEndpoint

if TYPE_CHECKING:
    from collections.abc import Sequence

_PARAMETER = re.compile(r"{(\w+)}")
_REF = "#/components/schemas/{name}"
_PROBLEM = "Problem"

Json = dict[str, Any]


def openapi_document(endpoints: Sequence[Endpoint | OpenEndpoint]) -> bytes:
    """The document as JSON."""
    types = {type_ for endpoint in endpoints for type_ in _types_of(endpoint)}
    _, components = msgspec.json.schema_components(
        sorted(types, key=lambda type_: type_.__name__), ref_template=_REF
    )
    paths: defaultdict[str, Json] = defaultdict(dict)
    for endpoint in endpoints:
        paths[endpoint.path][endpoint.method.lower()] = _operation(endpoint)
    document = {
        "openapi": "3.1.0",
        "info": {"title": "dropgate", "version": "1", "license": {"name": "Apache-2.0"}},
        "paths": paths,
        "components": {
            "schemas": {**components, _PROBLEM: _problem_schema()},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
            },
        },
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=1)


def _types_of(endpoint: Endpoint | OpenEndpoint) -> list[type]:
    body = endpoint.body if isinstance(endpoint, Endpoint) else None
    return [type_ for type_ in (endpoint.answer, body) if type_ is not None]


def _operation(endpoint: Endpoint | OpenEndpoint) -> Json:
    guarded = isinstance(endpoint, Endpoint)
    operation: Json = {
        "summary": endpoint.summary,
        "operationId": _operation_id(endpoint),
        "parameters": _parameters(endpoint),
        "responses": _responses(endpoint),
        "security": [{"bearer": []}] if guarded else [],
    }
    if isinstance(endpoint, Endpoint):
        operation["description"] = f"Scope: {' or '.join(endpoint.scopes)}."
        if endpoint.body is not None:
            operation["requestBody"] = {
                "required": not endpoint.body_optional,
                "content": {"application/json": {"schema": _ref(endpoint.body.__name__)}},
            }
    return operation


def _operation_id(endpoint: Endpoint | OpenEndpoint) -> str:
    words = [word for word in endpoint.path.split("/") if word and not word.startswith("{")]
    return "_".join([endpoint.method.lower(), *words]).replace("-", "_").replace(".", "_")


def _parameters(endpoint: Endpoint | OpenEndpoint) -> list[Json]:
    named = [(name, "path") for name in _PARAMETER.findall(endpoint.path)]
    if isinstance(endpoint, Endpoint):
        named += [(name, "header") for name in endpoint.headers]
        named += [(name, "query") for name in endpoint.query]
    required = {"Idempotency-Key"}
    return [
        {
            "name": name,
            "in": where,
            "required": where == "path" or name in required,
            "schema": {"type": "string"},
        }
        for name, where in named
    ]


def _responses(endpoint: Endpoint | OpenEndpoint) -> Json:
    status = endpoint.status if isinstance(endpoint, Endpoint) else 200
    done: Json = {"description": endpoint.summary}
    if endpoint.answer is not None:
        done["content"] = {"application/json": {"schema": _ref(endpoint.answer.__name__)}}
        for media_type in endpoint.also_as if isinstance(endpoint, Endpoint) else ():
            done["content"][media_type] = {"schema": {"type": "string"}}
    responses: Json = {str(status): done}
    if endpoint.method == "PUT":
        responses["200"] = done
    by_status: defaultdict[int, list[str]] = defaultdict(list)
    for code in endpoint.codes:
        by_status[CATALOGUE[code].status].append(code)
    for problem_status, codes in sorted(by_status.items()):
        responses[str(problem_status)] = {
            "description": " or ".join(f"`{code}`" for code in codes),
            "content": {"application/problem+json": {"schema": _ref(_PROBLEM)}},
        }
    return responses


def _problem_schema() -> Json:
    return {
        "type": "object",
        "description": "RFC 9457; further members depend on the code.",
        "required": ["type", "title", "status", "code", "detail", "request_id"],
        "properties": {
            "type": {"type": "string", "format": "uri"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "code": {"type": "string", "enum": sorted(CATALOGUE)},
            "detail": {"type": "string"},
            "request_id": {"type": "string"},
        },
    }


def _ref(name: str) -> Json:
    return {"$ref": _REF.format(name=name)}
