"""The form in which Envoy's configuration names the messages that it is made of."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

CONNECTION_MANAGER = "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = "extensions.filters.http.router.v3.Router"


def type_url(name: str) -> str:
    """Return the value of ``@type`` for a message of Envoy's, by its name without the leading ``envoy.``."""
    return f"type.googleapis.com/envoy.{name}"


def named(name: str, config: Json) -> Json:
    """Return an extension by its name, with its configuration."""
    return {"name": name, "typed_config": config}
