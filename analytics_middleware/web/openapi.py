"""The OpenAPI 3.1 document (https://spec.openapis.org/oas/v3.1.0), from the tables that requests are checked with."""

import re
from typing import Any, Final

import msgspec

from analytics_middleware.store.hub import SharedSalt, Taken
from analytics_middleware.web import ingest, records
from analytics_middleware.web.parameters import Parameter
from analytics_middleware.web.questions import QUESTIONS, Question
from analytics_middleware.web.saving import RESOURCES, Resource

_REF: Final = "#/components/schemas/{name}"
_ERRORS: Final = {
    "400": "The request is wrong; field says where.",
    "401": "A token, a key or a login is missing or wrong.",
    "403": "Pages of that origin may not do this, or the caller may only read.",
    "404": "There is nothing with that name.",
    "405": "The method is not possible here.",
    "408": "The body took too long to arrive.",
    "413": "The body is too long.",
    "415": "The body is compressed, or of a type that is not accepted.",
    "429": "Too many requests; Retry-After says when to come back.",
    "503": "There is no store to ask, or the log can't be written.",
}
_ERROR: Final = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "code": {"type": "string"},
                "message": {"type": "string"},
                "field": {"type": ["string", "null"]},
            },
            "required": ["code", "message", "field"],
        }
    },
    "required": ["error"],
}


def document(max_body: int) -> dict[str, Any]:
    """Return the document without its servers; *max_body* is the most bytes of a body that browsers may send."""
    from analytics_middleware import __version__

    types = [question.answer for question in QUESTIONS] + [each.grouped for each in QUESTIONS if each.grouped]
    types += [ingest.SentEvents, ingest.SentIdentify, ingest.Accepted]
    types += [records.SentRecords, records.SaltWanted, Taken, SharedSalt]
    types += [resource.type for resource in RESOURCES]
    schemas, components = _readable(msgspec.json.schema_components(types, ref_template=_REF))
    named = dict(zip(map(repr, types), schemas, strict=True))
    paths: dict[str, Any] = {question.path: {"get": _operation(question, named)} for question in QUESTIONS}
    paths["/events"] = {
        "post": _taking(
            "events",
            "Record events, all or none. A user_id is accepted from servers (secret key), from authorised requests, "
            "and if it is that of the user who is signed in; otherwise it is ignored.",
            named[repr(ingest.SentEvents)],
            max_body,
        )
    }
    paths["/identify"] = {
        "post": _taking(
            "identify",
            "Merge traits into what is known of a user; null removes one. A user_id is accepted as with events.",
            named[repr(ingest.SentIdentify)],
            max_body,
        )
    }
    paths["/records"] = {
        "post": _between_hosts(
            "records",
            "Take records from another host's log. All are on disk before the answer, or none is kept.",
            named[repr(records.SentRecords)],
            named[repr(Taken)],
            max(max_body, records.MAX_BODY),
        )
    }
    paths["/salts"] = {
        "post": _between_hosts(
            "salts",
            "The salt of cookieless visitors' ids on a day, in Base64: hosts that share it give a visitor the same id.",
            named[repr(records.SaltWanted)],
            named[repr(SharedSalt)],
            max_body,
        )
    }
    paths |= {resource.path: _saved(resource, named[repr(resource.type)]) for resource in RESOURCES}
    paths["/openapi.json"] = {"get": _public("openapi", "This document.", "application/json", {"type": "object"})}
    paths["/analytics.js"] = {"get": _public("snippet", "The browser's script.", "text/javascript", {"type": "string"})}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Analytics", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": {**components, "Error": _ERROR},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "read_token, or secret_key for servers"},
                "login": {"type": "apiKey", "in": "cookie", "name": "analytics_login"},
            },
        },
    }


def _readable(found: tuple[Any, dict[str, Any]]) -> tuple[Any, dict[str, Any]]:
    """Return *found* with names that clients can be made from: ``GroupFunnelStep``, not ``Group_list_package….``."""
    text = msgspec.json.encode(found).decode()
    for name in found[1]:
        if "_" in name:
            text = text.replace(f'{name}"', "".join(re.findall(r"[A-Z][A-Za-z]*", name)) + '"')
    schemas, components = msgspec.json.decode(text)
    for name, component in components.items():
        component["title"] = name
    return schemas, components


def _operation(question: Question, named: dict[str, Any]) -> dict[str, Any]:
    answers = [named[repr(question.answer)]]
    if question.grouped is not None:
        answers.append(named[repr(question.grouped)])
    data = answers[0] if len(answers) == 1 else {"anyOf": answers}
    answer = {"type": "object", "properties": {"data": data}, "required": ["data"]}
    return {
        "operationId": question.path.strip("/"),
        "summary": question.about,
        "security": [{"token": []}, {"login": []}],
        "parameters": [_parameter(each) for each in question.parameters],
        "responses": {"200": _response("The answer.", answer), **_errors("400", "401", "403", "405", "429", "503")},
    }


def _parameter(parameter: Parameter) -> dict[str, Any]:
    schema = parameter.schema
    if parameter.repeated:
        schema = {"type": "array", "items": schema, **({"minItems": 1} if parameter.required else {})}
    return {
        "name": parameter.name,
        "in": "query",
        "description": parameter.about,
        "required": parameter.required,
        "schema": schema,
    }


def _taking(name: str, about: str, schema: Any, max_body: int) -> dict[str, Any]:
    key = {"name": "key", "in": "query", "description": "The write key.", "schema": {"type": "string"}}
    header = {**key, "name": "X-Analytics-Key", "in": "header"}
    return {
        "operationId": name,
        "summary": about,
        "security": [{}, {"token": []}],
        "parameters": [key, header],
        "requestBody": {
            "description": f"At most {max_body} bytes, not compressed; text/plain is for sendBeacon.",
            "required": True,
            "content": {"application/json": {"schema": schema}, "text/plain": {"schema": schema}},
        },
        "responses": {
            "202": _response("Accepted.", {"$ref": _REF.format(name="Accepted")}),
            **_errors("400", "401", "403", "405", "408", "413", "415", "429"),
        },
    }


def _between_hosts(name: str, about: str, schema: Any, answer: Any, max_body: int) -> dict[str, Any]:
    return {
        "operationId": name,
        "summary": about,
        "security": [{"token": []}],
        "requestBody": {
            "description": f"At most {max_body} bytes, not compressed.",
            "required": True,
            "content": {"application/json": {"schema": schema}},
        },
        "responses": {
            "200": _response("Done.", answer),
            **_errors("400", "401", "405", "408", "413", "415", "429", "503"),
        },
    }


def _saved(resource: Resource, schema: Any) -> dict[str, Any]:
    def operation(verb: str, about: str, data: Any, *errors: str, **more: Any) -> dict[str, Any]:
        answer = {"type": "object", "properties": {"data": data}, "required": ["data"]}
        return {
            "operationId": f"{verb}-{resource.path.strip('/')}",
            "summary": about,
            "security": [{"token": []}, {"login": []}],
            **more,
            "responses": {"200": _response("Done.", answer), **_errors("400", "401", "403", "405", "429", *errors)},
        }

    deleted = {"type": "object", "properties": {"deleted": {"const": True}}, "required": ["deleted"]}
    body = {"required": True, "content": {"application/json": {"schema": schema}}}
    return {
        "get": operation("list", f"All {resource.many}.", {"type": "array", "items": schema}),
        "post": operation(
            "save",
            f"Save a new {resource.one}; one of the same {resource.key.name} is replaced. Not for read_token.",
            schema,
            "408",
            "413",
            "415",
            requestBody=body,
        ),
        "delete": operation(
            "delete",
            f"Delete a {resource.one}. Not for read_token.",
            deleted,
            "404",
            "408",
            "413",
            "415",
            parameters=[_parameter(resource.key)],
        ),
    }


def _public(name: str, about: str, media: str, schema: dict[str, Any]) -> dict[str, Any]:
    answer = {"description": about, "content": {media: {"schema": schema}}}
    return {"operationId": name, "summary": about, "responses": {"200": answer, **_errors("400", "405")}}


def _errors(*statuses: str) -> dict[str, Any]:
    return {status: _response(_ERRORS[status], {"$ref": _REF.format(name="Error")}) for status in statuses}


def _response(about: str, schema: Any) -> dict[str, Any]:
    return {"description": about, "content": {"application/json": {"schema": schema}}}
