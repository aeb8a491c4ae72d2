-- Appends of one process that share a statement. Released: a later change comes as v4.sql.

-- `log_append` for several callers in one transaction, each of whom has streams of its own and
-- reserves nothing. One row per event that was written; and of a caller nothing of whom was written
-- one per stream
--   with the version found, if one of its streams moved on
--   without, if it has to come alone: a lock is held by somebody else, or this transaction is older
--   than the last writer of a stream
-- Nobody waits for a lock here, so a frozen client holds up nobody but those on its stream. As in
-- `log_append` the locks come before the transaction id, and each statement sees what was committed
-- before its lock was granted.
create function log_append_each(
    p_epoch int, s_call int[], s_id uuid[], s_expected int[],
    e_call int[], e_recorded timestamptz[], e_stream uuid[], e_version int[], e_id uuid[],
    e_type text[], e_schema int[], e_key uuid[], e_occurred timestamptz[], e_topic text[],
    e_partition int[], e_data text[], e_meta text[]
) returns table (o_stream uuid, o_version int, o_xid text, o_gp bigint)
language plpgsql as $$
declare
    me    xid8;
    alone int[];
    moved int[];
    older int[];
begin
    select coalesce(array_agg(u.call), '{}') into alone
    from unnest(s_call, s_id) as u(call, id)
    where not pg_try_advisory_xact_lock(hashtextextended(u.id::text, 0));
    perform open_epoch(p_epoch);
    me := pg_current_xact_id();
    select coalesce(array_agg(u.call) filter (where coalesce(s.version, 0) <> u.expected), '{}'),
           coalesce(array_agg(u.call) filter (where s.last_epoch = p_epoch and s.last_xid > me), '{}')
    into moved, older
    from unnest(s_call, s_id, s_expected) as u(call, id, expected)
    left join lateral (select * from stream t where t.stream_id = u.id offset 0) s on true
    where u.call <> all(alone);
    alone := alone || older;
    insert into stream (stream_id, version, last_epoch, last_xid)
    select u.id,
           u.expected + (select count(*) from unnest(e_stream) as t(id) where t.id = u.id),
           p_epoch, me
    from unnest(s_call, s_id, s_expected) as u(call, id, expected)
    where u.call <> all(alone) and u.call <> all(moved)
    on conflict (stream_id) do update
        set version = excluded.version, last_epoch = excluded.last_epoch, last_xid = excluded.last_xid;
    return query
    insert into log (epoch, recorded_at, stream_id, version, event_id, type, schema_version,
                     partition_key, occurred_at, topic, partition, data, meta)
    select p_epoch, u.recorded, u.stream, u.version, u.id, u.type, u.schema, u.key, u.occurred,
           u.topic, u.part, u.data::json, u.meta::json
    from unnest(e_call, e_recorded, e_stream, e_version, e_id, e_type, e_schema, e_key, e_occurred,
                e_topic, e_partition, e_data, e_meta)
        with ordinality
        as u(call, recorded, stream, version, id, type, schema, key, occurred, topic, part, data,
             meta, ord)
    where u.call <> all(alone) and u.call <> all(moved)
    order by u.ord
    on conflict do nothing
    returning log.stream_id, log.version, log.xid::text, log.gp;
    return query
    select u.id,
           case when u.call <> all(alone)
                then coalesce((select t.version from stream t where t.stream_id = u.id), 0) end,
           null::text, null::bigint
    from unnest(s_call, s_id) as u(call, id)
    where u.call = any(alone) or u.call = any(moved);
end $$;
