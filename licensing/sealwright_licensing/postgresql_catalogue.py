"""What PostgreSQL's catalogue has of tables."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, TextClause, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import BigInteger, Text

from sealwright_licensing.postgresql_tables import Column, KeyIndex, Relation

_RELATIONS = """
SELECT wanted.name, c.oid::pg_catalog.int8 AS oid, n.nspname::pg_catalog.text AS schema,
    c.relkind::pg_catalog.text AS kind, c.relpersistence = 'p' AND n.nspname !~ '^pg_' AS is_lasting,
    COALESCE(m.amname = 'heap', false) AS is_heap,
    c.relrowsecurity AS row_security, c.relforcerowsecurity AS forced_row_security,
    c.relispartition OR EXISTS (SELECT FROM pg_catalog.pg_inherits i WHERE c.oid IN (i.inhrelid, i.inhparent))
        AS inherits,
    ARRAY(SELECT r.rulename::pg_catalog.text FROM pg_catalog.pg_rewrite r WHERE r.ev_class = c.oid) AS rules,
    ARRAY(SELECT t.tgname::pg_catalog.text FROM pg_catalog.pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal)
        AS triggers,
    ARRAY(SELECT k.conname::pg_catalog.text FROM pg_catalog.pg_constraint k
        WHERE k.conrelid = c.oid AND k.contype NOT IN ('p', 'n', 't')) AS constraints
FROM pg_catalog.unnest(:names) AS wanted(name)
JOIN pg_catalog.pg_class c ON c.oid = pg_catalog.to_regclass(wanted.name)
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_am m ON m.oid = c.relam
"""
_COLUMNS = """
SELECT a.attrelid::pg_catalog.int8 AS oid, a.attname::pg_catalog.text AS name,
    CASE WHEN n.nspname = 'pg_catalog' THEN '' ELSE n.nspname || '.' END || t.typname AS type,
    a.attnotnull AS is_required,
    a.attgenerated = '' AND a.attidentity = '' AND a.attcollation = t.typcollation AS is_plain,
    pg_catalog.pg_get_expr(d.adbin, d.adrelid) AS default
FROM pg_catalog.pg_attribute a
JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = ANY (CAST(:tables AS pg_catalog.oid[])) AND a.attnum > 0 AND NOT a.attisdropped
"""
_INDEXES = """
SELECT i.indrelid::pg_catalog.int8 AS oid, c.relname::pg_catalog.text AS name,
    ARRAY(SELECT a.attname::pg_catalog.text
        FROM pg_catalog.unnest(i.indkey::pg_catalog.int2[]) WITH ORDINALITY AS k(number, place)
        JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number ORDER BY k.place) AS columns,
    i.indisprimary AS is_primary, i.indisunique OR i.indisexclusion AS is_unique,
    i.indisvalid AND i.indisready AND i.indislive AND i.indimmediate AS is_whole,
    m.amname = 'btree' AND i.indexprs IS NULL AND i.indpred IS NULL AND NOT EXISTS (
        SELECT FROM pg_catalog.unnest(i.indclass::pg_catalog.oid[]) AS k(oid)
        JOIN pg_catalog.pg_opclass o ON o.oid = k.oid JOIN pg_catalog.pg_namespace n ON n.oid = o.opcnamespace
        WHERE n.nspname <> 'pg_catalog') AS is_ordinary
FROM pg_catalog.pg_index i
JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
JOIN pg_catalog.pg_am m ON m.oid = c.relam
WHERE i.indrelid = ANY (CAST(:tables AS pg_catalog.oid[]))
"""


def read_relations(connection: Connection, names: Sequence[str]) -> dict[str, Relation]:
    """What unqualified names of tables mean here; those that mean nothing are left out."""
    statement = text(_RELATIONS).bindparams(bindparam("names", list(names), ARRAY(Text)))
    rows = [dict(row) for row in connection.execute(statement).mappings()]
    tables = [row["oid"] for row in rows]
    columns, indexes = _parts(connection, _COLUMNS, tables), _parts(connection, _INDEXES, tables)
    found = {}
    for row in rows:
        name, oid = row.pop("name"), row.pop("oid")
        lists: dict[str, Any] = {key: tuple(sorted(row[key])) for key in ("rules", "triggers", "constraints")}
        lists["columns"] = tuple(Column(**one) for one in columns[oid])
        lists["indexes"] = tuple(KeyIndex(**(one | {"columns": tuple(one["columns"])})) for one in indexes[oid])
        found[name] = Relation(**(row | lists))
    return found


def _parts(connection: Connection, query: str, tables: Sequence[int]) -> dict[int, list[dict[str, Any]]]:
    found = defaultdict(list)
    for row in connection.execute(_of_tables(query, tables)).mappings():
        one = dict(row)
        found[one.pop("oid")].append(one)
    return found


def _of_tables(query: str, tables: Sequence[int]) -> TextClause:
    return text(query).bindparams(bindparam("tables", list(tables), ARRAY(BigInteger)))
