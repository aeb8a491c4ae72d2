-- The tables under every service. Released: a later change comes as v2.sql.

-- Transaction ids may start again in the next epoch.
create table log_epoch (
    epoch             int primary key,
    system_identifier text not null,
    timeline          int not null,
    began_at          timestamptz not null default now()
);
insert into log_epoch (epoch, system_identifier, timeline)
select 1, s.system_identifier::text, c.timeline_id from pg_control_system() s, pg_control_checkpoint() c;

-- What this service decided (sequence is null) and what it heard (sequence is the publisher's).
create table log (
    gp             bigint generated always as identity,
    xid            xid8 not null default pg_current_xact_id(),
    occurred_at    timestamptz not null,
    recorded_at    timestamptz not null,
    heard_at       timestamptz,
    sequence       bigint,
    epoch          int not null,
    version        int not null,
    schema_version int not null,
    partition      int,
    stream_id      uuid not null,
    event_id       uuid not null,
    partition_key  uuid not null,
    type           text not null,
    topic          text,
    data           json not null,
    meta           json,
    check ((sequence is null) = (heard_at is null)),
    check ((topic is null) = (partition is null))
);
create unique index log_order on log (epoch, xid, gp);
create unique index log_own on log (stream_id, version) where sequence is null;
create unique index log_heard on log (topic, partition, sequence) where sequence is not null;
create index log_customer on log (partition_key, occurred_at);
create index log_outbox on log (epoch, xid, gp) where sequence is null and topic is not null;
do $$ begin
    alter table log alter column data set compression lz4;
exception when feature_not_supported then
    null;  -- a server built without lz4 compresses by its own method, slower but the same rows
end $$;
alter table log set (
    autovacuum_vacuum_insert_scale_factor = 0.02,
    autovacuum_vacuum_insert_threshold = 50000,
    autovacuum_freeze_min_age = 0,
    autovacuum_analyze_scale_factor = 0.05
);

-- One row per stream: its version, and the transaction that wrote it last. The guard keeps
-- log order equal to version order.
create table stream (
    stream_id  uuid primary key,
    last_xid   xid8 not null,
    last_epoch int not null,
    version    int not null
) with (fillfactor = 80);

-- Uniqueness across streams: whoever holds (kind, digest) is the only one.
create table reservation (
    kind   text not null,
    digest bytea not null,
    holder uuid not null,
    primary key (kind, digest)
);
create index reservation_holder on reservation (holder);

-- Appends to streams, with reservations and with facts besides, in one order for good:
-- locks, then the transaction id, then the versions, then the rows. Raises
--   KV001 a stream is not at the version expected (detail: the stream)
--   KR001 an identifier is held by another (detail: kind, holder)
--   40001 this transaction is older than the stream's last writer: begin a new one
-- Returns the rows that were inserted; facts that had been appended before are missing from it.
create function log_append(
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
    perform pg_advisory_xact_lock(k) from (
        select distinct hashtextextended(id::text, 0) as k from unnest(s_id) as u(id) order by k
    ) keys;
    me := pg_current_xact_id();
    for other in
        select u.id, u.expected, s.version, s.last_epoch, s.last_xid
        from unnest(s_id, s_expected) as u(id, expected) left join stream s on s.stream_id = u.id
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
    insert into stream (stream_id, version, last_epoch, last_xid)
    select u.id, u.expected + coalesce(e.number, 0), p_epoch, me
    from unnest(s_id, s_expected) as u(id, expected)
    left join (select id, count(*) as number from unnest(e_stream) as t(id) group by id) e using (id)
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

-- The relay: how far it has read ('main', or a topic that is being sent again), and the last
-- number it gave in each topic partition.
create table relay_position (
    name    text primary key,
    epoch   int not null,
    xid     xid8 not null,
    gp      bigint not null,
    version bigint not null default 0
);
insert into relay_position (name, epoch, xid, gp) values ('main', 0, '0', 0);
create table relay_sequence (
    topic        text not null,
    partition    int not null,
    sequence     bigint not null,
    kafka_offset bigint not null,
    primary key (topic, partition)
);

-- The inbox: the last record taken from each topic partition. Below history_until is history.
create table inbox_mark (
    topic         text not null,
    partition     int not null,
    sequence      bigint not null,
    event_id      uuid,
    kafka_offset  bigint not null,
    history_until bigint not null,
    primary key (topic, partition)
);
create table quarantine (
    topic        text not null,
    partition    int not null,
    sequence     bigint not null,
    event_id     uuid not null,
    kafka_offset bigint not null,
    key          bytea,
    value        bytea,
    headers      jsonb not null,
    reason       text not null,
    at           timestamptz not null default now(),
    primary key (topic, partition, sequence)
);

-- Raises KM001 unless as many rows were moved as were meant to be: a lost compare-and-set.
create function assert_moved(moved bigint, meant bigint) returns boolean
language plpgsql as $$
begin
    if moved <> meant then
        raise exception 'another owner moved it: % of % rows', moved, meant using errcode = 'KM001';
    end if;
    return true;
end $$;

create table projection_checkpoint (
    name        text not null,
    version     int not null,
    epoch       int not null default 0,
    xid         xid8 not null default '0',
    gp          bigint not null default 0,
    recorded_at timestamptz,
    moved_at    timestamptz not null default now(),
    stopped     text,
    primary key (name, version)
);

create table lease (
    name  text primary key,
    owner text not null,
    until timestamptz not null
);

-- Subject keys, wrapped. In contacts it is the keystore and its own outbox, elsewhere a copy of
-- contacts.keys. A destroyed key never comes back.
create table subject_key (
    key_id    text primary key,
    kek_id    text,
    wrapped   text,
    destroyed timestamptz,
    unsent    boolean not null default false,
    check ((wrapped is null) = (destroyed is not null))
);
create index subject_key_unsent on subject_key (key_id) where unsent;

-- Callers. Only the SHA-256 of a key is kept; several may be live under one name.
create table api_key (
    sha256     bytea primary key,
    name       text not null,
    prefix     text not null,
    scopes     text[] not null,
    created_at timestamptz not null default now(),
    revoked_at timestamptz
);
