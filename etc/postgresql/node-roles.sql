-- Lets each node change its own rows of the ledger alone.
--
-- Run it as the owner of the tables, after "gpu-passthrough db sync" and again
-- after each release that changes the schema; it may be run repeatedly:
--
--     psql -v ON_ERROR_STOP=1 -1 -f node-roles.sql DATABASE
--
-- Then make a role for each node, named as [DEFAULT] host names it there, and
-- let the node log in as that role:
--
--     CREATE ROLE "compute-1" LOGIN PASSWORD '…' IN ROLE gpu_passthrough_node;
--
-- The owner of the tables stays free to change all rows: control nodes, which
-- claim for any host, log in as it.

DO $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_roles WHERE rolname = 'gpu_passthrough_node'
    ) THEN
        CREATE ROLE gpu_passthrough_node NOLOGIN;
    END IF;
END
$$;

GRANT USAGE ON SCHEMA public TO gpu_passthrough_node;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO gpu_passthrough_node;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO gpu_passthrough_node;
GRANT INSERT ON card TO gpu_passthrough_node;

-- The audit record: a node adds events of its own host, and neither changes
-- nor removes any.
GRANT INSERT ON event TO gpu_passthrough_node;
ALTER TABLE event ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS gpu_passthrough_read ON event;
CREATE POLICY gpu_passthrough_read ON event FOR SELECT
    TO gpu_passthrough_node USING (true);
DROP POLICY IF EXISTS gpu_passthrough_own ON event;
CREATE POLICY gpu_passthrough_own ON event FOR INSERT
    TO gpu_passthrough_node WITH CHECK (host = session_user);

-- Of the role that logged in: SET ROLE changes nothing here.
CREATE OR REPLACE FUNCTION gpu_passthrough_own_host() RETURNS integer
    LANGUAGE sql STABLE SET search_path = public, pg_temp
    AS $$ SELECT id FROM host WHERE name = session_user $$;

DO $$
DECLARE
    of_table record;
BEGIN
    FOR of_table IN
        SELECT * FROM (VALUES
            ('host', 'name = session_user'),
            ('host_aggregate', 'host_id = gpu_passthrough_own_host()'),
            ('unit', 'host_id = gpu_passthrough_own_host()'),
            ('unit_function', 'host_id = gpu_passthrough_own_host()'
                ' AND EXISTS (SELECT FROM unit WHERE unit.id = unit_id'
                ' AND unit.host_id = gpu_passthrough_own_host())'),
            ('supply', 'host_id = gpu_passthrough_own_host()'),
            ('consumer', 'host_id = gpu_passthrough_own_host()'),
            ('allocation', 'EXISTS (SELECT FROM unit WHERE unit.id = unit_id'
                ' AND unit.host_id = gpu_passthrough_own_host())'
                ' AND EXISTS (SELECT FROM consumer'
                ' WHERE consumer.id = consumer_id'
                ' AND consumer.host_id = gpu_passthrough_own_host())')
        ) AS listed (name, is_own)
    LOOP
        EXECUTE format(
            'GRANT INSERT, UPDATE, DELETE ON %I TO gpu_passthrough_node',
            of_table.name
        );
        EXECUTE format(
            'ALTER TABLE %I ENABLE ROW LEVEL SECURITY', of_table.name
        );
        EXECUTE format(
            'DROP POLICY IF EXISTS gpu_passthrough_read ON %I', of_table.name
        );
        EXECUTE format(
            'CREATE POLICY gpu_passthrough_read ON %I FOR SELECT'
            ' TO gpu_passthrough_node USING (true)', of_table.name
        );
        EXECUTE format(
            'DROP POLICY IF EXISTS gpu_passthrough_own ON %I', of_table.name
        );
        -- For reading it adds nothing to the policy above.
        EXECUTE format(
            'CREATE POLICY gpu_passthrough_own ON %I FOR ALL'
            ' TO gpu_passthrough_node USING (%s) WITH CHECK (%s)',
            of_table.name, of_table.is_own, of_table.is_own
        );
    END LOOP;
END
$$;

-- What agents are asked for: a node says what became of its own tasks, and asks
-- no other node for anything.
GRANT UPDATE (state, detail, changed_us) ON host_task TO gpu_passthrough_node;
ALTER TABLE host_task ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS gpu_passthrough_read ON host_task;
CREATE POLICY gpu_passthrough_read ON host_task FOR SELECT
    TO gpu_passthrough_node USING (true);
DROP POLICY IF EXISTS gpu_passthrough_own ON host_task;
CREATE POLICY gpu_passthrough_own ON host_task FOR UPDATE
    TO gpu_passthrough_node USING (host_id = gpu_passthrough_own_host());
