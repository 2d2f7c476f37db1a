"""Who did what to whom, and when: written in the transaction of the act itself, so that neither is there without the
other. Nobody's prompt and no secret is in it, and no row is ever changed or removed: the database refuses to.
"""

from hibari.audit.log import AuditLog, Entry, note
from hibari.audit.records import OPERATOR, Action, Actor, Target

__all__ = ["OPERATOR", "Action", "Actor", "AuditLog", "Entry", "Target", "note"]
