-- Restore: an epoch is one run of one server on one history, and it is open for writing only
-- once the relay has compared the log with Kafka. Released: a later change comes as v3.sql.

-- server_started_at and table_oid say for which run of the server, and for which incarnation of
-- the tables, the epoch was begun: whatever was restored, loaded or promoted has another.
-- settled_at is null while Kafka has records of ours that the log lacks, `missing` says how many.
alter table log_epoch
    add column server_started_at timestamptz,
    add column table_oid oid,
    add column settled_at timestamptz,
    add column missing bigint not null default 0;

-- The timeline of the last checkpoint may be the one before a promotion; this is of what is
-- written now.
create function server_timeline() returns int
language sql stable as $$
    select ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int
$$;

-- Is the newest epoch that of this server's run, and settled?
create function log_is_open() returns boolean
language sql stable as $$
    select coalesce((
        select e.settled_at is not null and e.server_started_at = pg_postmaster_start_time()
               and e.table_oid = e.tableoid
        from log_epoch e order by e.epoch desc limit 1), false)
$$;

-- The epoch in which rows are written now. Whoever writes to the log calls it in the same
-- statement. Raises
--   KS001 the log is not settled: nothing may be written
--   KE001 it is not the epoch expected (null: any): what the caller keeps in memory may be of
--         rows that are gone
create function open_epoch(expected int) returns int
language plpgsql stable as $$
declare
    newest record;
begin
    select e.epoch, e.settled_at is not null
           and e.server_started_at = pg_postmaster_start_time() and e.table_oid = e.tableoid as open
    into newest
    from log_epoch e order by e.epoch desc limit 1;
    if newest.open is distinct from true then
        raise exception 'the log is not settled' using errcode = 'KS001';
    end if;
    if newest.epoch <> expected then
        raise exception 'the log began epoch %, epoch % was expected', newest.epoch, expected
            using errcode = 'KE001';
    end if;
    return newest.epoch;
end $$;

update log_epoch
set server_started_at = pg_postmaster_start_time(), table_oid = tableoid, settled_at = now(),
    timeline = server_timeline();

-- As before, and refused unless `p_epoch` is open; what there is none of costs nothing. Streams are
-- looked up one by one (`offset 0` keeps it so): a join that was planned while the table was small
-- would read all of it for every append until somebody analyzes it.
create or replace function log_append(
    p_epoch int, p_recorded_at timestamptz,
    s_id uuid[], s_expected int[],
    r_kind text[], r_digest bytea[], r_holder uuid[],
    e_stream uuid[], e_version int[], e_id uuid[], e_type text[], e_schema int[], e_key uuid[],
    e_occurred timestamptz[], e_topic text[], e_partition int[], e_data text[], e_meta text[]
) returns table (o_stream uuid, o_version int, o_xid text, o_gp bigint)
language plpgsql as $$
declare
    me    xid8;
    other record;
begin
    if cardinality(s_id) = 1 then  -- most calls: no order of locks to keep, one row to look up
        perform pg_advisory_xact_lock(hashtextextended(s_id[1]::text, 0));
    else
        perform pg_advisory_xact_lock(k) from (
            select distinct hashtextextended(id::text, 0) as k from unnest(s_id) as u(id) order by k
        ) keys;
    end if;
    perform open_epoch(p_epoch);
    me := pg_current_xact_id();
    for other in
        select u.id, u.expected, s.version, s.last_epoch, s.last_xid
        from unnest(s_id, s_expected) as u(id, expected)
        left join lateral (select * from stream t where t.stream_id = u.id offset 0) s on true
    loop
        if coalesce(other.version, 0) <> other.expected then
            raise exception 'the stream is at version %, not at %',
                coalesce(other.version, 0), other.expected
                using errcode = 'KV001', detail = other.id::text;
        end if;
        if other.last_epoch = p_epoch and other.last_xid > me then
            raise exception 'this transaction is older than the last writer of the stream'
                using errcode = '40001';
        end if;
    end loop;
    if cardinality(r_kind) > 0 then
        insert into reservation (kind, digest, holder)
        select * from unnest(r_kind, r_digest, r_holder)
        on conflict do nothing;
        for other in
            select r.kind, r.holder
            from unnest(r_kind, r_digest, r_holder) as u(kind, digest, holder)
            join reservation r on r.kind = u.kind and r.digest = u.digest
            where r.holder <> u.holder
        loop
            raise exception 'the identifier is held by another'
                using errcode = 'KR001', detail = other.kind || ' ' || other.holder::text;
        end loop;
    end if;
    insert into stream (stream_id, version, last_epoch, last_xid)
    select u.id,
           u.expected + (select count(*) from unnest(e_stream) as t(id) where t.id = u.id),
           p_epoch, me
    from unnest(s_id, s_expected) as u(id, expected)
    on conflict (stream_id) do update
        set version = excluded.version, last_epoch = excluded.last_epoch, last_xid = excluded.last_xid;
    return query
    insert into log (epoch, recorded_at, stream_id, version, event_id, type, schema_version,
                     partition_key, occurred_at, topic, partition, data, meta)
    select p_epoch, p_recorded_at, u.stream, u.version, u.id, u.type, u.schema, u.key, u.occurred,
           u.topic, u.part, u.data::json, u.meta::json
    from unnest(e_stream, e_version, e_id, e_type, e_schema, e_key, e_occurred, e_topic,
                e_partition, e_data, e_meta)
        with ordinality
        as u(stream, version, id, type, schema, key, occurred, topic, part, data, meta, ord)
    order by u.ord
    on conflict do nothing
    returning log.stream_id, log.version, log.xid::text, log.gp;
end $$;
