"""What every session of boto3 would find out anew is found out once a process.

These are its descriptions of services, of which each session lists hundreds of folders and parses megabytes, and the
names of its events.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def share_service_models(assign: Callable[[Any, str, Any], None] = setattr) -> None:
    """Let all sessions from now on share them.

    Args:
        assign: sets an attribute of an object, by its name.
    """
    from botocore import hooks, loaders, session

    loader, names = loaders.create_loader(), {}
    begin = hooks.EventAliaser.__init__

    def begin_with_names(self: Any, *arguments: Any, **options: Any) -> None:
        begin(self, *arguments, **options)
        self._alias_name_cache = names

    assign(session, "create_loader", lambda _: loader)
    assign(hooks.EventAliaser, "__init__", begin_with_names)
