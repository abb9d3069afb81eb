"""The page at /docs: the OpenAPI document made readable, as one file without scripts or assets."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

import msgspec

from gateway.api.contract.problems import Header
from gateway.api.description.answers import Json

# The browser enforces that the page loads nothing from anywhere.
PAGE_POLICY: Header = (
    "Content-Security-Policy",
    (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    ),
)
_PAGE = Path(__file__).with_name("page.html")
_CODE = re.compile(r"`([^`]+)`")


def docs_page(document: Json) -> bytes:
    """The page as HTML in UTF-8."""
    by_tag: defaultdict[str, list[tuple[str, str, Json]]] = defaultdict(list)
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            by_tag[operation["tags"][0]].append((method.upper(), path, operation))
    tags = [tag["name"] for tag in document["tags"]]
    schemas = document["components"]["schemas"]
    parts = {
        "introduction": _prose(document["info"]["description"]),
        "navigation": "".join(_navigation(tag, by_tag[tag]) for tag in tags),
        "scopes": "".join(
            f"<dt><code>{name}</code></dt><dd>{_prose(scheme['description'])}</dd>"
            for name, scheme in document["components"]["securitySchemes"].items()
        ),
        "calls": "".join(
            f'<section><h2 id="{_anchor(tag)}">{escape(tag)}</h2>'
            + "".join(_call(*call) for call in by_tag[tag])
            + "</section>"
            for tag in tags
        ),
        "types": "".join(_type(name, schemas[name]) for name in sorted(schemas)),
    }
    page = _PAGE.read_text(encoding="utf-8")
    for name, html in parts.items():
        page = page.replace(f"{{{name}}}", html)
    return page.encode()


def _navigation(tag: str, calls: Iterable[tuple[str, str, Json]]) -> str:
    links = "".join(
        f'<li><a href="#{operation["operationId"]}">{_method(method)}'
        f"<span>{escape(path)}</span></a></li>"
        for method, path, operation in calls
    )
    return f'<li><a href="#{_anchor(tag)}">{escape(tag)}</a><ul>{links}</ul></li>'


def _call(method: str, path: str, operation: Json) -> str:
    scopes = [name for requirement in operation["security"] for name in requirement]
    who = ", ".join(f"<code>{scope}</code>" for scope in scopes) or "no token"
    return (
        f'<article id="{operation["operationId"]}">'
        f"<h3>{_method(method)} <code>{escape(path)}</code></h3>"
        f'<p>{escape(operation["summary"])}. <span class="who">{who}</span></p>'
        f"{_parameters(operation['parameters'])}"
        f"{_body(operation.get('requestBody'))}"
        f"{_answers(operation['responses'])}</article>\n"
    )


def _parameters(parameters: list[Json]) -> str:
    rows = [
        (
            f"<code>{escape(each['name'])}</code>",
            escape(each["in"]) + (", required" if each["required"] else ""),
            f"{_prose(each['description'])} {_limits(each['schema'])}",
        )
        for each in parameters
    ]
    return _table(("Parameter", "In", "What it is"), rows)


def _body(body: Json | None) -> str:
    if body is None:
        return ""
    content = body["content"]["application/json"]
    optional = "" if body["required"] else ", or no body"
    return f"<p>Body: {_shape(content['schema'])}{optional}</p>{_example(content)}"


def _answers(responses: Json) -> str:
    rows = [
        (
            f'<span class="status s{status[0]}">{status}</span>',
            _prose(answer["description"]),
            "<br>".join(_contents(answer.get("content", {}))),
            ", ".join(
                f"<code>{name}</code>" for name in answer["headers"] if name != "X-Request-Id"
            ),
        )
        for status, answer in responses.items()
    ]
    examples = "".join(
        _example(content)
        for answer in responses.values()
        for content in answer.get("content", {}).values()
    )
    return _table(("Status", "When", "Body", "Headers"), rows) + examples


def _contents(contents: Json) -> Iterator[str]:
    for media_type, content in contents.items():
        shape = _shape(content["schema"])
        plain = media_type in {"application/json", "application/problem+json"}
        yield shape if plain else f"{escape(media_type)} {shape}"


def _type(name: str, schema: Json) -> str:
    """The article of a named type: its fields, or the types it is composed of."""
    parts = [f"<p>{_prose(schema['description'])}</p>" if "description" in schema else ""]
    if "allOf" in schema:
        parts.append(f"<p>{' and '.join(_shape(part) for part in schema['allOf'])}</p>")
    required = set(schema.get("required", ()))
    rows = [
        (
            f"<code>{escape(field)}</code>" + (" required" if field in required else ""),
            _shape(inner),
            _limits(inner),
        )
        for field, inner in schema.get("properties", {}).items()
    ]
    parts.append(_table(("Field", "Type", "Limits"), rows))
    if "enum" in schema:
        parts.append(f"<p>{_values(schema['enum'])}</p>")
    return f'<article id="type-{name}"><h3><code>{name}</code></h3>{"".join(parts)}</article>\n'


def _shape(schema: Json) -> str:
    """The type of a schema in words, with links to named types."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f'<a href="#type-{name}">{name}</a>'
    for choice in ("oneOf", "anyOf"):
        if choice in schema:
            return " or ".join(_shape(each) for each in schema[choice])
    if schema.get("type") == "array":
        return f"list of {_shape(schema.get('items', {}))}"
    if isinstance(schema.get("additionalProperties"), dict):
        return f"map to {_shape(schema['additionalProperties'])}"
    if "const" in schema:
        return _values([schema["const"]])
    if "enum" in schema:
        return _values(schema["enum"])
    return escape(str(schema.get("format") or schema.get("type") or "anything"))


_LIMITS = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "pattern": "matches {}",
    "default": "default {}",
}


def _limits(schema: Json) -> str:
    parts = [schema, *schema.get("anyOf", ())]
    said = [
        words.format(f"<code>{escape(_plain(part[name]))}</code>")
        for part in parts
        for name, words in _LIMITS.items()
        if name in part and part[name] not in (None, [], {})
    ]
    return f'<span class="limits">{", ".join(said)}</span>' if said else ""


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _values(values: Iterable[Any]) -> str:
    return " or ".join(f"<code>{escape(_plain(value))}</code>" for value in values)


def _example(content: Json) -> str:
    if "example" not in content:
        return ""
    text = msgspec.json.format(msgspec.json.encode(content["example"]), indent=2).decode()
    return f"<details><summary>Example</summary><pre>{escape(text)}</pre></details>"


def _table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    if not rows:
        return ""
    head = "".join(f'<th scope="col">{each}</th>' for each in heads)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return (
        f'<div class="wide" tabindex="0"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _prose(text: str) -> str:
    return _CODE.sub(r"<code>\1</code>", escape(text))


def _method(method: str) -> str:
    return f'<span class="method {method.lower()}">{method}</span>'


def _anchor(tag: str) -> str:
    return f"tag-{tag.lower().replace(' ', '-')}"
