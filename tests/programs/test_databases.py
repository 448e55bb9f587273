"""sqlite3: journals, locks and memory maps."""

from __future__ import annotations

from tests.helpers import Twin, program

STATEMENTS = b"""
create table t(a integer primary key, b text);
with recursive n(i) as (select 1 union all select i+1 from n where i < 5000) insert into t select i, 'row ' || i from n;
select count(*), max(b) from t; begin; delete from t where a > 10; rollback; select count(*) from t;
pragma integrity_check; create index i on t(b); vacuum; .tables
update t set b = upper(b) where a < 5; select * from t where b like 'ROW%'; select * from missing;
.backup copy.db
.dump t
"""


def test_sqlite(twin: Twin) -> None:
    for journal in ("delete", "wal", "truncate", "memory"):
        text = f"pragma journal_mode={journal};".encode() + STATEMENTS
        twin.same([program("sqlite3"), f"{journal}.db"], input=text, status=1, trees=False)


def test_sqlite_by_many_processes(twin: Twin) -> None:
    """Writers that wait for each other's locks lose nothing."""
    sqlite = program("sqlite3")
    script = f"{sqlite} d 'create table t(a)'; for w in 1 2 3 4; do (for i in $(seq 10); do " \
             f"{sqlite} -cmd '.timeout 60000' d \"insert into t values($w)\"; done) & done; wait; {sqlite} d 'select count(*) from t'"  # fmt: skip
    assert twin.same(script, trees=False).stdout == b"40\n"
