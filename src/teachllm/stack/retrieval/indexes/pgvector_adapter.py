"""Vectors in a table of PostgreSQL, with its extension pgvector.

The client is no part of this project's own needs: `pip install 'teachllm[pgvector]'`.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64

from teachllm.stack.retrieval.indexes.index import Metric
from teachllm.stack.retrieval.indexes.server import ServerIndex

NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")
# −x·q is what <#> gives; vectors are of length 1 for the cosine.
OPERATORS: dict[Metric, tuple[str, str]] = {
    "l2": ("<->", "vector_l2_ops"),
    "inner_product": ("<#>", "vector_ip_ops"),
    "cosine": ("<#>", "vector_ip_ops"),
}


class PgvectorIndex(ServerIndex):
    """A table (id, vector), made if it is not there, else used with what it holds.

    server: as libpq takes it, `postgresql://user@host/database`; it is written into a saved folder, so give
    a password by PGPASSWORD or ~/.pgpass. hnsw: let pgvector find neighbours through its own graph, nearly;
    else it compares with every vector, exactly. A search with a filter is always exact.
    ValueError for a name that is none, and for a table of other vectors; OSError without a server.
    """

    kind = "pgvector"

    def __init__(
        self, dimension: int, metric: Metric = "l2", *, server: str, table: str, hnsw: bool = False
    ) -> None:
        super().__init__(dimension, metric)
        if not NAME.fullmatch(table):
            raise ValueError(
                f"{table!r} is no name for a table: small letters, digits and _, and no digit first"
            )
        self.server, self.table, self.hnsw = server, table, hnsw
        psycopg = _psycopg()
        try:
            self.connection = psycopg.connect(server, autocommit=True)
        except psycopg.OperationalError as problem:
            raise OSError(f"no PostgreSQL answers at {_without_password(server)}: {problem}") from None
        weakref.finalize(self, self.connection.close)
        self._operator, kinds = OPERATORS[metric]
        try:
            self._run("CREATE EXTENSION IF NOT EXISTS vector")
        except psycopg.Error as problem:
            raise OSError(f"that PostgreSQL has no pgvector: {problem}; install its package there") from None
        # The metric stands in the table's comment: searched by another one, its scores would mean nothing.
        self._run(
            f"CREATE TABLE IF NOT EXISTS {table} (id bigint PRIMARY KEY, vector vector({dimension}) NOT NULL)"
        )
        there = self._run("SELECT obj_description(%s::regclass, 'pg_class')", [table])[0][0]
        wanted = f"teachllm {metric} {dimension}"
        if there is None and not self._run(f"SELECT count(*) FROM {table}")[0][0]:
            self._run(f"COMMENT ON TABLE {table} IS '{wanted}'")
        elif there != wanted:
            raise ValueError(
                f"the table {table} is of {there or 'another program'}, not of {wanted}; give another name"
            )
        if hnsw:
            self._run(f"CREATE INDEX IF NOT EXISTS {table}_hnsw ON {table} USING hnsw (vector {kinds})")
        self.refresh()

    @property
    def n_bytes(self) -> int:
        """On the server: the table with its indexes."""
        return int(self._run("SELECT pg_total_relation_size(%s::regclass)", [self.table])[0][0])

    def _run(self, command: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self.connection.cursor() as cursor:
            cursor.execute(command, values or None)
            return cursor.fetchall() if cursor.description else []

    def _stored_ids(self) -> Int64[np.ndarray, " n"]:
        return np.array([row[0] for row in self._run(f"SELECT id FROM {self.table}")], dtype=np.int64)

    def _insert(self, ids: Int64[np.ndarray, " n"], rows: Float32[np.ndarray, "n dimension"]) -> None:
        try:
            with (
                self.connection.transaction(),
                self.connection.cursor() as cursor,
                cursor.copy(f"COPY {self.table} (id, vector) FROM STDIN") as copy,
            ):
                for number, row in zip(ids.tolist(), rows, strict=True):
                    copy.write_row((number, _text(row)))
        except _psycopg().errors.UniqueViolation as problem:
            raise ValueError(
                f"another process added some of these ids; call refresh, or give others ({problem})"
            ) from None

    def _delete(self, ids: Int64[np.ndarray, " n"]) -> None:
        self._run(f"DELETE FROM {self.table} WHERE id = ANY(%s)", [ids.tolist()])

    def _nearest(
        self, query: Float32[np.ndarray, " dimension"], k: int, allowed: Int64[np.ndarray, " m"] | None
    ) -> tuple[Sequence[int], Sequence[float]]:
        by = f"vector {self._operator} %s::vector"
        values: list[Any] = [_text(query)]
        where = ""
        if allowed is not None:
            where, values = "WHERE id = ANY(%s)", [*values, allowed.tolist()]
        with self.connection.transaction():
            if allowed is not None or not self.hnsw:
                self._run("SET LOCAL enable_indexscan = off")  # the graph would look at near ones only
            else:
                self._run(f"SET LOCAL hnsw.ef_search = {min(1000, max(40, 2 * k))}")
                self._run("SET LOCAL hnsw.iterative_scan = strict_order")
            rows = self._run(
                f"SELECT id, {by} AS distance FROM {self.table} {where} ORDER BY distance, id LIMIT {k}"
                if allowed is not None or not self.hnsw
                else f"SELECT id, {by} AS distance FROM {self.table} ORDER BY {by} LIMIT {k}",
                values if allowed is not None or not self.hnsw else [*values, *values],
            )
        return [row[0] for row in rows], [row[1] ** 2 if self._squared else row[1] for row in rows]

    def _place(self) -> dict[str, Any]:
        return {"server": self.server, "table": self.table, "hnsw": self.hnsw}


def _text(vector: Float32[np.ndarray, " dimension"]) -> str:
    """As pgvector reads it; nine digits are a float32 exactly."""
    return "[" + ",".join(f"{number:.9g}" for number in vector.tolist()) + "]"


def _without_password(server: str) -> str:
    return re.sub(r"(password\s*=\s*)\S+", r"\1…", re.sub(r"(://[^:@/]*):[^@/]*@", r"\1:…@", server))


def _psycopg() -> Any:
    try:
        import psycopg  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ImportError(
            "vectors in PostgreSQL need its client, which is not installed: pip install 'teachllm[pgvector]'"
        ) from None
    return psycopg
