"""
What stands in for Citus: its functions, as far as fastpaca calls them, on a single PostgreSQL.

They note what they were asked for and move nothing, so the store writes and reads in the forms that
a distributed database is sent, and finds all of it.
"""

from __future__ import annotations

from fastpaca.store.postgres.operations import distribute
from tests.kit.postgres import run_script, run_sql

_CITUS = """
CREATE TABLE public.pg_dist_partition (logicalrelid regclass, partmethod "char", repmodel "char");
CREATE TABLE public.calls (n serial, what text);

CREATE FUNCTION public.create_distributed_table(name regclass, key text, colocate_with text)
RETURNS void LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO public.pg_dist_partition VALUES (name, 'h', 's');
    INSERT INTO public.calls (what) VALUES (format('%s by %s beside %s', name, key, colocate_with));
END $$;

CREATE FUNCTION public.create_reference_table(name regclass) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.pg_dist_partition VALUES (name, 'n', 't');
    INSERT INTO public.calls (what) VALUES (format('%s to all', name));
END $$;

CREATE FUNCTION public.truncate_local_data_after_distributing_table(name regclass)
RETURNS void LANGUAGE plpgsql AS $$ BEGIN
    ASSERT (SELECT count(*) FROM public.pg_dist_partition WHERE logicalrelid = name) = 1;
    INSERT INTO public.calls (what) VALUES (format('%s emptied', name));
END $$
"""


async def install(dsn: str) -> None:
    """Let the database at *dsn* have the functions."""
    await run_script(dsn, _CITUS)


async def calls(dsn: str) -> list[str]:
    """List what they were asked for, and forget it."""
    found = [what for (what,) in await run_sql(dsn, "SELECT what FROM calls ORDER BY n")]
    await run_sql(dsn, "DELETE FROM calls")
    return [what.replace("fastpaca.", "") for what in found]


async def distributed(dsn: str) -> str:
    """Make the database at *dsn* one whose tables are distributed, and give its address."""
    await install(dsn)
    await distribute(dsn, lambda _: None)
    return dsn
