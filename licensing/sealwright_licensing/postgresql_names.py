"""Do names mean PostgreSQL's own functions and operators? Asked of each new connection, before anything else.

Whoever may create in a schema of the search path could put a comparison of `text` with `varchar` there. For such values
it fits better than PostgreSQL's own, and every look-up, the audit's as well, would run it. Nothing here depends on a
name that is looked for.
"""

from __future__ import annotations

from typing import Any

from sealwright_policies.errors import OperationError

CATALOGUE = "pg_catalog"
_OVERLOADS = """
WITH own AS (SELECT n.oid FROM pg_catalog.pg_namespace n WHERE n.nspname OPERATOR(pg_catalog.=) 'pg_catalog'::name),
others AS (SELECT n.oid FROM pg_catalog.pg_namespace n
    WHERE n.nspname OPERATOR(pg_catalog.=) ANY (pg_catalog.current_schemas(false))
        AND n.nspname OPERATOR(pg_catalog.<>) 'pg_catalog'::name)
SELECT 'function ' OPERATOR(pg_catalog.||) p.oid::pg_catalog.regprocedure::pg_catalog.text
FROM pg_catalog.pg_proc p JOIN others ON p.pronamespace OPERATOR(pg_catalog.=) others.oid
WHERE EXISTS (SELECT FROM pg_catalog.pg_proc o JOIN own ON o.pronamespace OPERATOR(pg_catalog.=) own.oid
        WHERE o.proname OPERATOR(pg_catalog.=) p.proname)
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_proc o JOIN own ON o.pronamespace OPERATOR(pg_catalog.=) own.oid
        WHERE o.proname OPERATOR(pg_catalog.=) p.proname AND o.proargtypes OPERATOR(pg_catalog.=) p.proargtypes)
    AND NOT EXISTS (SELECT FROM pg_catalog.unnest(p.proargtypes::pg_catalog.oid[]) AS k(oid)
        JOIN pg_catalog.pg_type t ON t.oid OPERATOR(pg_catalog.=) k.oid
        LEFT JOIN own ON own.oid OPERATOR(pg_catalog.=) t.typnamespace WHERE own.oid IS NULL)
UNION ALL
SELECT 'operator ' OPERATOR(pg_catalog.||) p.oid::pg_catalog.regoperator::pg_catalog.text
FROM pg_catalog.pg_operator p JOIN others ON p.oprnamespace OPERATOR(pg_catalog.=) others.oid
WHERE p.oprname OPERATOR(pg_catalog.=) ANY ('{=,<>,<,<=,>,>=}'::pg_catalog.name[])
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_type t LEFT JOIN own ON own.oid OPERATOR(pg_catalog.=) t.typnamespace
        WHERE own.oid IS NULL
            AND (t.oid OPERATOR(pg_catalog.=) p.oprleft OR t.oid OPERATOR(pg_catalog.=) p.oprright))
"""
_CURE = "The database is the service's alone: drop it, or take it out of the search path, and find out who made it."


def require_own_names(connection: Any, _record: object = None) -> None:
    """Refuse a connection of the driver's on which others' functions or operators are found for PostgreSQL's own.

    Raises:
        OperationError: they are.
    """
    with connection.cursor() as cursor:
        (search_path,) = cursor.execute("SHOW search_path").fetchone()
        if not is_own_first(search_path):
            raise OperationError(f"The search path, {search_path}, has {CATALOGUE} behind other schemas.", cure=_CURE)
        found = cursor.execute(_OVERLOADS).fetchone()
    connection.rollback()
    if found is not None:
        raise OperationError(f"The database has {found[0]} beside PostgreSQL's own of that name.", cure=_CURE)


def is_own_first(search_path: str) -> bool:
    """Whether PostgreSQL's own schema goes before all others; it does if it is not named."""
    names = [one.strip().strip('"') for one in search_path.split(",")]
    return CATALOGUE not in names[1:]
