"""The JSON Schema of the lines of `sandbox audit --json`. What is here does not change within a version; properties may
be added, and readers pass over what they do not know."""

from __future__ import annotations

from typing import Any

from .event import JSON_VERSION

_PROPERTIES: dict[str, dict[str, Any]] = {
    "version": {"const": JSON_VERSION, "description": "of this schema"},
    "guest": {"type": "string", "pattern": "^[0-9a-f]{16}$", "description": "the same for every call of a guest"},
    "time": {"type": "number", "description": "when the call was answered, in seconds since 1970 (UTC)"},
    "sequence": {"type": "integer", "minimum": 0, "description": "of the guest's calls, from 1, without gaps"},
    "pid": {"type": "integer", "minimum": 0, "description": "thread that called, as the guest's sentry sees it"},
    "call": {
        "type": "string",
        "description": "name of the system call; call_N where number N has none, http for a request, resolve for a "
        "question for a name, ? for damage",
    },
    "paths": {
        "type": "array",
        "items": {"type": "string"},
        "maxItems": 2,
        "description": "paths, addresses, a request as the guest gave it; of resolve the name, and an address left "
        "out of its answer; byte B that is no UTF-8 is the escape \\udcB",
    },
    "mount": {"type": ["string", "null"], "description": "guest path of the mount that decided"},
    "verdict": {
        "type": "string",
        "pattern": "^(done|failed|denied|damaged|none|verdict_[0-9]+)$",
        "description": "failed with Linux's own error, denied by the policy, damaged: missing or made up by a sentry",
    },
    "error": {"type": ["string", "null"], "description": "errno, of resolve EAI_NONAME, or what is damaged"},
    "duration": {"type": "number", "minimum": 0, "description": "from reception to answer, in seconds"},
    "service": {"type": ["integer", "null"], "description": "request that the Supervisor served as a part of the call"},
    "trusted": {"type": "boolean", "description": "false: not what the Supervisor knows of the guest"},
    "flags": {"type": ["integer", "null"], "description": "of a call that opens a file; null: another, or not known"},
    "served": {
        "type": ["string", "null"],
        "description": "what that was: net/CALL ADDRESS, file/NUMBER or proc/NAME; of resolve name/TYPE",
    },
    "rule": {"type": ["string", "null"], "description": "mount or rule that decided, as `sandbox explain` names it"},
    "access": {
        "type": "array",
        "items": {"enum": ["read", "write", "create", "path"]},
        "description": "what a file was opened for: write is truncation, too; create is where it is missing",
    },
}

SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "$id": f"urn:sandbox:audit:{JSON_VERSION}",
    "title": "A served call of a guest: one line of `sandbox audit --json`",
    "type": "object",
    "properties": _PROPERTIES,
    "required": list(_PROPERTIES),
}
