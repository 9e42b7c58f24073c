"""The published description of the API, with our problem documents in place of the framework's."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from adapters.http.schemas import Problem

CDS_BASE = "/cds/"
_CLIENT_TOKEN = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "JWT",
    "description": "Signed by the client, for this address, used once (CDS Hooks 2.0).",
}


def describe(app: FastAPI) -> None:
    """Make `/openapi.json` say what really is answered."""

    def description() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _description(app)
        return app.openapi_schema

    app.openapi = description  # type: ignore[method-assign]


def _description(app: FastAPI) -> dict[str, Any]:
    described = get_openapi(title=app.title, version=app.version, routes=app.routes)
    shapes = described["components"]["schemas"]
    for unused in ("HTTPValidationError", "ValidationError"):
        shapes.pop(unused, None)
    shapes["Problem"] = Problem.model_json_schema()
    shapes["Problem"]["additionalProperties"] = True
    described["components"]["securitySchemes"] = {"clientToken": _CLIENT_TOKEN}
    for where, path in described["paths"].items():
        for operation in path.values():
            if where.startswith(CDS_BASE):
                operation["security"] = [{"clientToken": []}]
            answers = operation["responses"]
            if "HTTPValidationError" in str(answers.get("422", "")):
                answers["422"] = {
                    "description": "A problem document.",
                    "content": {
                        "application/problem+json": {
                            "schema": {"$ref": "#/components/schemas/Problem"}
                        }
                    },
                }
    return described
