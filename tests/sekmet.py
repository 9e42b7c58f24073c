"""A running sekmet-fhir, an R4 server that we did not write, as the EHR of a test."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx


@contextmanager
def sekmet(folder: Path, **settings: Any) -> Iterator[str]:
    """Serve from `folder` with these further settings of its own; yields the FHIR base URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}/fhir"
    told: Mapping[str, Any] = {
        "base_url": url,
        "host": "127.0.0.1",
        "port": port,
        "simulator": {"enabled": False},
        **settings,
    }
    (folder / "settings.yaml").write_text(json.dumps(told))  # JSON is YAML
    command = [str(Path(sys.executable).with_name("sekmet")), "serve", "-c", "settings.yaml"]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env=_environment())
    try:
        _await(url.removesuffix("/fhir") + "/.well-known/smart-configuration", server)
        yield url
    finally:
        server.terminate()
        server.wait(timeout=10)


def _environment() -> dict[str, str]:
    return {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}  # noqa: TID251


def _await(url: str, server: "subprocess.Popen[bytes]") -> None:
    for _ in range(300):
        assert server.poll() is None
        try:
            if httpx.get(url).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise TimeoutError("the server did not come up")
