-- Runs once in a new cluster, in database postgres, as postgres. Patroni makes _pgtlsrepl right after it.
-- All three roles log in by client certificate alone: they have no password, and pg_hba.conf takes nothing else.

-- The operator.
CREATE ROLE _pgtls WITH SUPERUSER LOGIN;

-- PgBouncer, which looks up the verifiers of others.
CREATE ROLE _pgtlspgbouncer WITH NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT LOGIN;

CREATE SCHEMA pgbouncer;
REVOKE ALL ON SCHEMA pgbouncer FROM PUBLIC;
GRANT USAGE ON SCHEMA pgbouncer TO _pgtlspgbouncer;

-- Name and SCRAM verifier of a role that may log in through PgBouncer; no row for anybody else.
CREATE FUNCTION pgbouncer.get_auth(name text) RETURNS TABLE (username text, password text)
LANGUAGE sql STABLE STRICT SECURITY DEFINER SET search_path = pg_catalog
AS $$
  SELECT rolname::text, rolpassword
    FROM pg_catalog.pg_authid
   WHERE rolname = $1
     AND rolcanlogin
     AND NOT rolsuper
     AND NOT rolreplication
     AND rolname NOT IN ('_pgtls', '_pgtlsrepl', '_pgtlspgbouncer')
     AND rolpassword LIKE 'SCRAM-SHA-256$%'
     AND (rolvaliduntil IS NULL OR rolvaliduntil > now())
$$;
REVOKE ALL ON FUNCTION pgbouncer.get_auth(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pgbouncer.get_auth(text) TO _pgtlspgbouncer;
