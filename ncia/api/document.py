"""The OpenAPI 3.1 document: what FastAPI writes of the routes, and what the policy says of them."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from ncia.api import problems
from ncia.api.policy import POLICY

MARK = "x-ncia"


class Application(FastAPI):
    """Its document also tells problems, ways to sign in, and who may call what."""

    def openapi(self) -> dict[str, Any]:
        told = super().openapi()
        if MARK not in told:
            told[MARK] = "who may call a path stands under x-ncia-may; `local` is the site's unix socket"
            _describe(told)
        return told


def _describe(told: dict[str, Any]) -> None:
    parts = told.setdefault("components", {})
    parts.setdefault("schemas", {})["Problem"] = problems.Problem.model_json_schema()
    parts["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer", "description": "A session's or token's secret."},
        "console": {"type": "apiKey", "in": "cookie", "name": "ncia_session"},
    }
    for path, methods in told["paths"].items():
        for method, operation in methods.items():
            rule = POLICY.get(f"{method.upper()} {path}")
            may = sorted(rule.may) if rule else ["local"]
            operation["x-ncia-may"] = may
            operation["security"] = [] if "anonymous" in may else [{"bearer": []}, {"console": []}]
