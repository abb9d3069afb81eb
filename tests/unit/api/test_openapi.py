"""The description of the API: whole, true to the types, and readable without anything else."""

import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from gateway.api.contract.endpoints import Endpoint
from gateway.api.contract.problem_members import MEMBERS
from gateway.api.contract.problems import CATALOGUE, Problem
from gateway.api.description.answers import ANY_CALL, ANY_GUARDED_CALL
from gateway.api.description.document import openapi_document
from gateway.api.description.examples import _EXAMPLES
from gateway.api.description.links import LINKS
from gateway.api.description.page import docs_page
from tests.support.endpoints import every_endpoint

DOCUMENT = openapi_document(every_endpoint())


def operations() -> dict[str, dict[str, Any]]:
    return {
        operation["operationId"]: operation
        for methods in DOCUMENT["paths"].values()
        for operation in methods.values()
    }


def walk(node: object) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
        for inner in node.values():
            yield from walk(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from walk(inner)


def test_every_operation_has_a_name_of_its_own() -> None:
    assert len(operations()) == len(every_endpoint())


def test_every_reference_leads_somewhere() -> None:
    for node in walk(DOCUMENT):
        if "$ref" in node:
            place: Any = DOCUMENT
            for word in node["$ref"].removeprefix("#/").split("/"):
                place = place[word]


def test_every_link_leads_to_an_operation_that_takes_it() -> None:
    known = operations()
    assert set(LINKS) <= set(known)
    for links in LINKS.values():
        for link in links:
            taken = {
                name
                for each in known[link.operation_id]["parameters"]
                for name in (each["name"], f"{each['in']}.{each['name']}")
            }
            assert set(link.parameters) <= taken, link


@pytest.mark.parametrize("type_", _EXAMPLES, ids=lambda type_: type_.__name__)
def test_every_example_is_what_it_is_an_example_of(type_: type) -> None:
    written = msgspec.json.encode(_EXAMPLES[type_])
    assert isinstance(msgspec.json.decode(written, type=type_), type_)


def test_every_body_has_an_example() -> None:
    bodies = {each.body for each in every_endpoint() if isinstance(each, Endpoint) and each.body}
    without_fields = {body for body in bodies if not msgspec.structs.fields(body)}
    assert bodies - without_fields <= set(_EXAMPLES)


def test_every_code_can_be_answered_by_some_call() -> None:
    named = {code for each in every_endpoint() for code in each.codes}
    # The router's own: no operation has another method.
    elsewhere = {*ANY_CALL, *ANY_GUARDED_CALL, "method_not_allowed", "rate_limited"}
    assert set(CATALOGUE) - named - elsewhere == set()


def test_a_problem_is_described_by_its_code() -> None:
    problem = Problem("hold_expired", "It has.", expires_at="2026-11-21T12:50:53.312Z")
    body = msgspec.json.decode(problem.answer("id").body)
    schema = DOCUMENT["components"]["schemas"]["HoldExpiredProblem"]
    assert {name: body[name] for name in schema["properties"]} == {
        name: inner["const"] for name, inner in schema["properties"].items()
    }
    assert set(body) == set(
        DOCUMENT["components"]["schemas"]["Problem"]["required"]
        + DOCUMENT["components"]["schemas"]["HoldExpired"]["required"]
    )
    assert set(MEMBERS) <= set(CATALOGUE)


def test_scopes_are_told_as_ways_to_authenticate() -> None:
    known = operations()
    assert known["reserve"]["security"] == [{"buyer": []}, {"storefront": []}]
    assert known["confirm"]["security"] == [{"storefront": []}]
    assert known["sale"]["security"] == []


def test_what_is_answered_is_always_whole() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    assert "payment_reference" in schemas["ReservationAnswer"]["required"]
    assert "buyer_id" not in schemas["ReserveBody"]["required"]


def test_the_page_shows_every_call_and_loads_nothing() -> None:
    page = docs_page(DOCUMENT).decode()
    for name in operations():
        assert f'<article id="{name}">' in page
    assert not re.search(r"<script|<iframe|@import|url\(|\bsrc=", page)
    hrefs = set(re.findall(r'href="([^"#]+)', page))
    assert hrefs == {"data:,", "/openapi.json"}
    targets = set(re.findall(r'href="#([^"]+)"', page))
    assert targets <= set(re.findall(r'id="([^"]+)"', page))
