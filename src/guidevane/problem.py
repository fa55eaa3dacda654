"""What an HTTP door says when it refuses: problem details (RFC 9457), for every error without exception."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import orjson
import pydantic
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi import FastAPI, Request

MEDIA_TYPE = "application/problem+json"


class Problem(pydantic.BaseModel):
    """An error in the words of RFC 9457; further members say more about this one."""

    model_config = pydantic.ConfigDict(extra="allow")

    type: str = pydantic.Field(
        description="A stable name of the kind of problem.", examples=["urn:guidevane:not-found"]
    )
    title: str = pydantic.Field(description="The kind of problem, in words.")
    status: int = pydantic.Field(description="The HTTP status.")
    detail: str = pydantic.Field("", description="What happened here, and what to do about it.")


class Refused(HTTPException):
    """A request that is not served, and why; ``more`` becomes further members of the problem.

    >>> orjson.loads(Refused(404, "unknown-pipeline", "there is no pipeline x", known=["employment"]).body)["title"]
    'Unknown pipeline'
    """

    def __init__(
        self, status: int, kind: str, detail: str, *, headers: Mapping[str, str] | None = None, **more: object
    ) -> None:
        super().__init__(status, detail, dict(headers) if headers else None)
        self.kind = kind
        self.more = more

    @property
    def body(self) -> bytes:
        """Return the problem as JSON."""
        said: dict[str, Any] = {
            "type": f"urn:guidevane:{self.kind}",
            "title": self.kind.replace("-", " ").capitalize(),
            "status": self.status_code,
            "detail": self.detail,
        }
        # What a stranger sent may hold anything: it is shown as text, never trusted to be JSON.
        return orjson.dumps(said | self.more, default=str, option=orjson.OPT_NON_STR_KEYS)

    def response(self) -> Response:
        """Return the answer."""
        return Response(self.body, self.status_code, self.headers, MEDIA_TYPE)


def speak_problems(app: FastAPI) -> None:
    """Answer every error of an app as a problem, and say so in its OpenAPI document."""
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(Exception, _broken)
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        document = generate()
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        schemas.setdefault("Problem", Problem.model_json_schema())
        return document

    app.openapi = openapi  # type: ignore[method-assign]


RESPONSES: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": "The request is refused; the problem says why.",
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
}
"""What every route can answer besides its own: for ``FastAPI(responses=...)``."""


async def _refused(request: Request, error: Exception) -> Response:
    if isinstance(error, Refused):
        return error.response()
    if not isinstance(error, HTTPException):
        raise error
    kind = HTTPStatus(error.status_code).phrase.lower().replace(" ", "-")
    detail = f"{request.method} {request.url.path}: {error.detail}"
    return Refused(error.status_code, kind, detail, headers=error.headers).response()


async def _invalid(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    mistakes = [
        {"where": ".".join(str(part) for part in each["loc"]), "message": str(each["msg"])} for each in error.errors()
    ]
    said = "; ".join(f"{each['where']}: {each['message']}" for each in mistakes)
    return Refused(422, "invalid-request", f"{request.method} {request.url.path}: {said}", mistakes=mistakes).response()


async def _gone(request: Request, error: Exception) -> Response:
    # Nobody hears it; but a client that goes before it has said all is no bug of ours.
    del error
    return Refused(400, "body-incomplete", f"{request.method} {request.url.path}: the body ended early").response()


async def _broken(request: Request, error: Exception) -> Response:
    detail = f"{request.method} {request.url.path} met a bug ({type(error).__name__}): the room's log holds its trace"
    return Refused(500, "bug", detail).response()
