-- What read models could not fold: parked keys, and what waits behind them; what operators did.
-- Released: a later change comes as v5.sql.

-- A key that a read model goes on without. `key` is its row's key as JSON, or `customer <id>`: every
-- row that an event of that partition key names. `asked` is for the projection's owner.
create table parked_key (
    projection text not null,
    version    int not null,
    key        text not null,
    reason     text not null,
    stack      text not null,
    parked_at  timestamptz not null default now(),
    asked      text check (asked in ('retry', 'try', 'discard')),
    asked_by   text,
    asked_at   timestamptz,
    primary key (projection, version, key)
);
create index parked_asked on parked_key (asked_at) where asked is not null;

-- Its events by their place in the log: the first could not be folded, the others came behind it.
create table parked_event (
    projection text not null,
    version    int not null,
    key        text not null,
    epoch      int not null,
    xid        xid8 not null,
    gp         bigint not null,
    primary key (projection, version, key, epoch, xid, gp)
);

-- What was asked of parked and quarantined events, by whom, and what came of it; for good.
create table deed (
    id      bigint generated always as identity primary key,
    at      timestamptz not null default now(),
    by      text not null,
    what    text not null,
    about   text not null,
    outcome text not null
);
create index deed_about on deed (about, id);

-- Answers to commands that came with an Idempotency-Key, written in the transaction of what they
-- did; kept for 24 h. `answer` is without its position: the row (stream_id, version) has it.
create table idempotent_answer (
    caller    text not null,
    key       text not null,
    digest    bytea not null,
    stream_id uuid not null,
    version   int not null,
    wrote     boolean not null,
    answer    jsonb not null,
    at        timestamptz not null default now(),
    primary key (caller, key)
);
create index idempotent_answer_at on idempotent_answer (at);
