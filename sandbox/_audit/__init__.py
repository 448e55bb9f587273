"""The audit trail: counts always, and every served call where it is asked for."""

from .counts import AuditSummary
from .event import Event, Filter, call_name
from .file import AuditFile
from .join import events, load
from .sinks import AuditTarget, Sink

__all__ = ["AuditFile", "AuditSummary", "AuditTarget", "Event", "Filter", "Sink", "call_name", "events", "load"]
