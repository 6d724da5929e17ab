"""The table of endpoints as an OpenAPI document. Pure.

Source: the OpenAPI Specification 3.1.0.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import msgspec

from appliance import __version__

from .exchange import PROBLEM
from .roles import Role
from .table import Endpoint, by_path, documents

__all__ = ["Problem", "codes_of", "describe_endpoints"]

_NAME = re.compile(r"\{(\w+)(?::\w+)?\}")
_REF = "#/components/schemas/{name}"


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """A refusal (RFC 9457); it may say more than this."""

    title: str
    """What is the matter, in a few words."""
    status: int
    detail: str | None = None
    """More, for people."""
    where: str | None = None
    """The field that is wrong."""
    reason: str | None = None
    """A word for programs."""


def codes_of(endpoint: Endpoint) -> list[int]:
    """Every code that a request can be answered with."""
    codes = {endpoint.status, 400, 406, 408, 421, 431, 500, *endpoint.refusals}
    codes |= {401, 403, 429} if endpoint.role > Role.OPEN else {403}
    codes |= {413, 415} if endpoint.body is not None else {413}
    return sorted(codes)


def describe_endpoints(endpoints: Sequence[Endpoint]) -> bytes:
    """The document, JSON."""
    endpoints = [each for each in endpoints if not each.sign_in]
    kinds = list(dict.fromkeys(map(_Key, [Problem, *documents(endpoints)])))
    schemas, components = msgspec.json.schema_components([each.kind for each in kinds], ref_template=_REF)
    schema_of = dict(zip(kinds, schemas, strict=True))
    paths: dict[str, Any] = {}
    for path, methods in by_path(endpoints).items():
        plain = _NAME.sub(r"{\1}", path)
        paths[plain] = {name.lower(): _operation(each, schema_of, components) for name, each in methods.items()}
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "broappliance",
                "version": __version__,
                "summary": "The endpoint of an appliance for a Bro/Zeek site",
            },
            "paths": paths,
            "components": {
                "schemas": components,
                "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            },
        }
    )


class _Key:
    """A type as a key: generic aliases are not all hashable."""

    def __init__(self, kind: Any) -> None:
        self.kind = kind

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self.kind == other.kind

    def __hash__(self) -> int:
        return hash(repr(self.kind))


def _operation(endpoint: Endpoint, schema_of: dict[_Key, dict[str, Any]], components: dict[str, Any]) -> dict[str, Any]:
    answers: dict[str, Any] = {}
    for code in codes_of(endpoint):
        if code < 400:  # success of another kind
            continue
        answers[str(code)] = {"description": HTTPStatus(code).phrase, "content": {PROBLEM: {"schema": _ref("Problem")}}}
    success: dict[str, Any] = {"description": HTTPStatus(endpoint.status).phrase}
    schema = schema_of[_Key(endpoint.reply)] if endpoint.reply is not None else {}
    success["content"] = {each: {"schema": schema} for each in (endpoint.produces, *endpoint.also)}
    for code in (endpoint.status, *(each for each in endpoint.refusals if each < 400)):
        answers[str(code)] = {**success, "description": HTTPStatus(code).phrase}
    made: dict[str, Any] = {
        "summary": endpoint.summary,
        "operationId": _operation_id(endpoint),
        "tags": [endpoint.path.split("/")[2 if endpoint.path.startswith("/v1/") else 1]],
        "x-role": endpoint.role.word,
        "security": [{"token": []}] if endpoint.role > Role.OPEN else [],
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in _NAME.findall(endpoint.path)
        ],
        "responses": answers,
    }
    if endpoint.query is not None:
        made["parameters"] += _query(components[schema_of[_Key(endpoint.query)]["$ref"].rpartition("/")[2]])
    if endpoint.body is not None:
        schema = schema_of[_Key(endpoint.body)]
        made["requestBody"] = {"required": True, "content": {each: {"schema": schema} for each in endpoint.consumes}}
    return made


def _operation_id(endpoint: Endpoint) -> str:
    words = re.findall(r"\w+", _NAME.sub(r"\1", endpoint.path.removeprefix("/v1")))
    return "_".join([endpoint.method.lower(), *words])


def _ref(name: str) -> dict[str, str]:
    return {"$ref": _REF.format(name=name)}


def _query(component: dict[str, Any]) -> list[dict[str, Any]]:
    """A struct's fields as parameters."""
    required = component.get("required", ())
    return [
        {
            "name": name,
            "in": "query",
            "required": name in required,
            "schema": {key: value for key, value in schema.items() if key != "description"},
            **({"description": schema["description"]} if "description" in schema else {}),
        }
        for name, schema in component["properties"].items()
    ]
