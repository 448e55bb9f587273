"""A policy as TOML. The keys of each table are the names of the Python arguments; an unknown key is an error."""

from __future__ import annotations

import base64
import os
from dataclasses import asdict
from typing import Any

from . import _network_file, _toml
from ._errors import PolicyError
from ._grants import File, Limits, Mount, Scratch
from ._toml import known, typed

_TABLES = ("mounts", "scratch", "files")
_KEYS: dict[str, dict[str, type[Any]]] = {
    "mounts": {"source": str, "target": str, "writable": bool, "noexec": bool, "hide": list},
    "scratch": {"target": str, "noexec": bool},
    "files": {"target": str, "content": str, "content_base64": str, "executable": bool},
}
_NEEDED = {"mounts": ("source", "target"), "scratch": ("target",), "files": ("target",)}


def parse(text: str | bytes, name: str) -> dict[str, Any]:
    """The arguments of Policy that TOML text means; `name` is its file, for errors and relative sources."""
    document = _toml.loads(text.encode("utf-8") if isinstance(text, str) else text, name)
    known(name, "", document, (*_TABLES, "limits", "env", "require", "network"))
    limits = _table(name, document, "limits")
    known(name, "limits", limits, Limits.__dataclass_fields__)
    made: dict[str, Any] = {
        table: [_entry(name, table, item) for item in _tables(name, document, table)] for table in _TABLES
    }
    made["network"] = _network_file.parse(name, document.get("network", "none"))
    require, env = document.get("require", []), _table(name, document, "env")
    typed(name, "require", require, list)
    for key, value in env.items():
        typed(name, f"env.{key}", value, str)
    try:
        return {"limits": Limits(**limits), "env": env, "require": require, **made}
    except PolicyError as error:
        raise PolicyError(f"{name}: {error}") from None


def _entry(name: str, table: str, item: dict[str, Any]) -> Any:
    known(name, table, item, _KEYS[table])
    for key, value in item.items():
        typed(name, f"{table}.{key}", value, _KEYS[table][key])
    for key in _NEEDED[table]:
        if key not in item:
            raise PolicyError(f"{name}: {table}: an entry has no {key}")
    try:
        if table == "mounts":
            folder = os.path.dirname(os.path.abspath(name))
            return Mount(**{**item, "source": os.path.join(folder, item["source"])})
        return Scratch(**item) if table == "scratch" else File(**_content(name, item))
    except PolicyError as error:
        raise PolicyError(f"{name}: {table}: {error}") from None


def _content(name: str, item: dict[str, Any]) -> dict[str, Any]:
    rest = {key: value for key, value in item.items() if not key.startswith("content")}
    if ("content" in item) == ("content_base64" in item):
        raise PolicyError(f"{item['target']}: needs either content or content_base64")
    if "content" in item:
        return {**rest, "content": item["content"].encode("utf-8")}
    try:
        return {**rest, "content": base64.b64decode(item["content_base64"], validate=True)}
    except ValueError as error:
        raise PolicyError(f"{item['target']}: content_base64: {error}") from None


def _table(name: str, document: dict[str, Any], key: str) -> dict[str, Any]:
    value = document.get(key, {})
    typed(name, key, value, dict)
    return dict(value)


def _tables(name: str, document: dict[str, Any], key: str) -> list[dict[str, Any]]:
    value = document.get(key, [])
    typed(name, key, value, list)
    for item in value:
        typed(name, key, item, dict)
    return list(value)


def text(policy: dict[str, Any]) -> str:
    """TOML of the arguments of Policy."""
    document: dict[str, Any] = {
        "require": list(policy["require"]),
        "network": "" if policy["network"] == "none" else _network_file.document(policy["network"]),
        "limits": {key: value for key, value in asdict(policy["limits"]).items() if value is not None},
        "env": dict(policy["env"]),
        "mounts": [{**asdict(mount), "hide": list(mount.hide)} for mount in policy["mounts"]],
        "scratch": [asdict(scratch) for scratch in policy["scratch"]],
        "files": [_file(file) for file in policy["files"]],
    }
    return _toml.dumps({key: value for key, value in document.items() if value})


def _file(file: File) -> dict[str, Any]:
    if not isinstance(file.content, bytes):
        raise PolicyError(f"file {file.target}: content made by a function has no TOML")
    try:
        content = {"content": file.content.decode("utf-8")}
    except UnicodeDecodeError:
        content = {"content_base64": base64.b64encode(file.content).decode("ascii")}
    return {"target": file.target, **content, "executable": file.executable}
