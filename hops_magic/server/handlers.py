"""One handler for all endpoints: it authenticates, calls the table in a thread, and writes JSON."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler
from tornado.web import HTTPError, authenticated

from hops_magic.api.encoding import encoded
from hops_magic.api.problems import MEDIA_TYPE, Problem, problem_of, refused
from hops_magic.api.routing import MOST_BODY_BYTES, PREFIX

if TYPE_CHECKING:
    from hops_magic.server.app import Backend

RESOURCE = "hops_magic"
NOT_ALLOWED = "this server's rules do not let you do that"
_JSON = "application/json"


class ApiHandler(APIHandler):
    """Everything below ``/hops/api/v1``; the server's authorizer says who may read (``GET``) and who may write."""

    auth_resource = RESOURCE

    @authenticated
    @authorized(message=NOT_ALLOWED)
    async def get(self, path: str) -> None:
        """Answer a question."""
        await self._answer(path)

    @authenticated
    @authorized(message=NOT_ALLOWED)
    async def post(self, path: str) -> None:
        """Do something."""
        await self._answer(path)

    @authenticated
    @authorized(message=NOT_ALLOWED)
    async def put(self, path: str) -> None:
        """Set something."""
        await self._answer(path)

    @authenticated
    @authorized(message=NOT_ALLOWED)
    async def patch(self, path: str) -> None:
        """Change something."""
        await self._answer(path)

    @authenticated
    @authorized(message=NOT_ALLOWED)
    async def delete(self, path: str) -> None:
        """Take something away."""
        await self._answer(path)

    async def _answer(self, path: str) -> None:  # noqa: ARG002 (see below)
        backend: Backend = self.settings["hops_backend"]
        method = str(self.request.method)
        try:
            # as it came: what tornado gives is unquoted, and names may hold a slash
            raw = self.request.path.partition(PREFIX)[2]
            body = self._body() if method != "GET" else None
            query = {name: [value.decode("utf-8", "replace") for value in values] for name, values in self._query().items()}
            told, status = await backend.answer(method, raw, query, body)
        # whatever it is becomes a problem document; what nobody foresaw is in the log as well
        except Exception as error:
            problem = problem_of(error)
            if problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                self.log.error(
                    "%s %s failed", method, self.request.path[:200], exc_info=error if problem.slug == "internal" else None
                )
            self._write_problem(problem)
            return
        self.set_status(status)
        self._write(told, _JSON)

    def _query(self) -> dict[str, list[bytes]]:
        found: dict[str, list[bytes]] = self.request.query_arguments
        # of Jupyter's own: a sign-in by address, and the number with which its front end defeats caches
        return {name: values for name, values in found.items() if name not in ("token", "_xsrf") and not name.isdigit()}

    def _body(self) -> Any:
        raw: bytes = self.request.body
        if not raw:
            return None
        if len(raw) > MOST_BODY_BYTES:
            raise refused("too-large", f"the body has {len(raw):,} bytes: at most {MOST_BODY_BYTES:,} are read")
        kind = self.request.headers.get("Content-Type", _JSON).partition(";")[0].strip().lower()
        if kind != _JSON:
            raise refused("unsupported-media-type", f"the body is {kind[:80]}: send {_JSON}")
        try:
            body = json.loads(raw)
        except ValueError as error:
            raise refused("bad-parameter", f"the body is no JSON: {error}") from None
        if not isinstance(body, dict):
            raise refused("bad-parameter", "the body must be a JSON object")
        return body

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Tell what the server itself refused, such as a request without a token, as a problem document too."""
        error = kwargs.get("exc_info", (None, None, None))[1]
        told = error.log_message if isinstance(error, HTTPError) else None
        if told == NOT_ALLOWED:
            problem = problem_of(refused("not-allowed", NOT_ALLOWED))
        elif status_code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            detail = told or "sign in to this server, or send its token"
            problem = Problem(status=status_code, slug="not-authenticated", title="Sign in first", detail=detail)
        elif status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            problem = problem_of(refused("method-not-allowed", f"this address does not know {self.request.method}"))
        else:
            problem = Problem(
                status=status_code, slug="internal", title=HTTPStatus(status_code).phrase, detail="the request was refused"
            )
        self._write_problem(problem)

    def _write_problem(self, problem: Problem) -> None:
        self.set_status(problem.status)
        if "allow" in problem.members:
            self.set_header("Allow", problem.members["allow"])
        self._write(encoded(problem.to_json()), MEDIA_TYPE)

    def _write(self, text: str | None, kind: str) -> None:
        self.set_header("Cache-Control", "no-store")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.finish(text, set_content_type=kind)
