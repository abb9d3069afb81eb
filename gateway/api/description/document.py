"""The OpenAPI 3.1 document, built from the endpoints and the types of their bodies and answers.

Nothing is written twice: bodies and answers are the structs that parse and render, problems come
from their catalogue, and the router is built from these endpoints too.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import msgspec

from gateway.api.contract.endpoints import AnyEndpoint, Endpoint
from gateway.api.description.answers import (
    SCHEMA,
    Json,
    header_components,
    problem_components,
    ref,
    responses,
)
from gateway.api.description.examples import example_of
from gateway.api.description.links import LINKS
from gateway.api.description.parameters import IN_HEADERS, IN_QUERY, Parameter, path_parameters

_INFO = {
    "title": "dropgate",
    "version": "1",
    "summary": "The gate in front of a limited release.",
    "description": (
        "Bodies and answers are JSON. Errors are problems (RFC 9457): decide by their `code`. "
        "Instants are RFC 3339 in UTC, money is in minor units. An answer of 429 or 503 says in "
        "`Retry-After` when to ask again; a request with an `Idempotency-Key` may always be "
        "repeated with this key."
    ),
    "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
}
_SCOPES = {
    "buyer": "A buyer, whose id is `sub`: reserves, cancels, extends, reads own reservations.",
    "storefront": "The shop: acts for any buyer; only the shop confirms and takes returns.",
    "ops": "Operators: run sales, read everything.",
}
# The tag of a path: the first of these words that the path contains decides.
_TAGS = {
    "queue": "Waiting room",
    "reservations": "Reservations",
    "orders": "Orders",
    "reconciliations": "Operations",
    "dead-letters": "Operations",
    "audit-log": "Operations",
    "sales": "Sales",
    "demo": "Demonstration",
}
_OTHER_TAG = "System"


def openapi_document(endpoints: Sequence[AnyEndpoint]) -> Json:
    """The OpenAPI document of the endpoints, as JSON values."""
    ids = _operation_ids(endpoints)
    paths: defaultdict[str, Json] = defaultdict(dict)
    for endpoint in endpoints:
        paths[endpoint.path][endpoint.method.lower()] = _operation(endpoint, ids)
    used = {operation["tags"][0] for path in paths.values() for operation in path.values()}
    return {
        "openapi": "3.1.0",
        "info": _INFO,
        "servers": [{"url": "/"}],
        "tags": [
            {"name": tag} for tag in dict.fromkeys((*_TAGS.values(), _OTHER_TAG)) if tag in used
        ],
        "paths": paths,
        "components": {
            "schemas": _schemas(endpoints) | problem_components(),
            "headers": header_components(),
            "securitySchemes": {
                scope: {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": f"A token whose claim `scope` is `{scope}`. {said}",
                }
                for scope, said in _SCOPES.items()
            },
        },
    }


def _operation_ids(endpoints: Sequence[AnyEndpoint]) -> dict[tuple[str, str], str]:
    """Operation ids by method and path: the route, or such as `open_sale` for routes used twice."""
    routes = Counter(endpoint.route for endpoint in endpoints)
    ids = {}
    for endpoint in endpoints:
        name = endpoint.route
        if routes[name] > 1:
            last = endpoint.path.rpartition("/")[2].replace(".", "_").replace("-", "_")
            thing = name.removesuffix("_state").removesuffix("_control")
            name = last if name == "system" else f"{last}_{thing}"
        ids[endpoint.method, endpoint.path] = name
    return ids


def _operation(endpoint: AnyEndpoint, ids: dict[tuple[str, str], str]) -> Json:
    operation_id = ids[endpoint.method, endpoint.path]
    operation: Json = {
        "operationId": operation_id,
        "summary": endpoint.summary,
        "tags": [_tag(endpoint.path)],
        "parameters": [*_parameters(endpoint)],
        "responses": responses(endpoint),
        "security": [],
    }
    if isinstance(endpoint, Endpoint):
        operation["security"] = [{scope.value: []} for scope in endpoint.scopes]
        if endpoint.body is not None:
            operation["requestBody"] = _request_body(endpoint.body, optional=endpoint.body_optional)
    known = set(ids.values())
    links = {
        link.operation_id: {"operationId": link.operation_id, "parameters": link.parameters}
        for link in LINKS.get(operation_id, ())
        if link.operation_id in known
    }
    if links:
        for status, answer in operation["responses"].items():
            if status.startswith("2"):
                answer["links"] = links
    return operation


def _tag(path: str) -> str:
    words = path.split("/")
    return next((tag for word, tag in _TAGS.items() if word in words), _OTHER_TAG)


def _parameters(endpoint: AnyEndpoint) -> Iterator[Json]:
    for name, parameter in path_parameters(endpoint.path):
        yield _parameter(name, "path", parameter) | {"required": True}
    for name in endpoint.headers:
        yield _parameter(name, "header", IN_HEADERS[name])
    for name in endpoint.required_headers if isinstance(endpoint, Endpoint) else ():
        header = _parameter(name, "header", IN_HEADERS[name])
        yield header | {"required": True, "schema": {"minLength": 1} | header["schema"]}
    for name in endpoint.query if isinstance(endpoint, Endpoint) else ():
        yield _parameter(name, "query", IN_QUERY[name])


def _parameter(name: str, where: str, parameter: Parameter) -> Json:
    return {
        "name": name,
        "in": where,
        "required": parameter.required,
        "description": parameter.description,
        "schema": msgspec.json.schema(parameter.type),
    }


def _request_body(body: type, *, optional: bool) -> Json:
    content: Json = {"schema": ref(body.__name__)}
    example = example_of(body)
    if example is not None:
        content["example"] = example
    return {"required": not optional, "content": {"application/json": content}}


def _schemas(endpoints: Sequence[AnyEndpoint]) -> Json:
    """The schemas of every body and answer, and of the types inside them."""
    bodies = {each.body for each in endpoints if isinstance(each, Endpoint) and each.body}
    answers = {each.answer for each in endpoints if each.answer is not None}
    _, schemas = msgspec.json.schema_components(
        sorted(bodies | answers, key=lambda type_: type_.__name__), ref_template=SCHEMA
    )
    _, in_bodies = msgspec.json.schema_components([*bodies], ref_template=SCHEMA)
    for name, schema in schemas.items():
        if name not in in_bodies and schema.get("type") == "object" and "properties" in schema:
            schema["required"] = [*schema["properties"]]  # an answer always has all its fields
    return schemas
