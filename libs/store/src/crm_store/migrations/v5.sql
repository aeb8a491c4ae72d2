-- What a service decides by itself: reactions and timers. Released: a later change comes as v6.sql.

-- The number of a topic partition's last record that is history; null while all of it is so far.
-- What lies above it was written after this service first heard the partition.
alter table inbox_mark add column news_after bigint;
update inbox_mark set news_after = sequence where kafka_offset + 1 >= history_until;

-- What a stream shall be told at an instant; set and cleared with the events that say so.
create table timer (
    stream_id uuid not null,
    name      text not null,
    decider   text not null,
    due_at    timestamptz not null,
    primary key (stream_id, name)
);
create index timer_due on timer (due_at);

-- Commands of reactions and timers that a decider refused: an outcome, kept for whoever asks why
-- nothing happened. `event_id` is what was reacted to, of a timer its stream.
create table refused_command (
    id       bigint generated always as identity primary key,
    at       timestamptz not null default now(),
    by       text not null,
    event_id uuid not null,
    refusal  text not null,
    detail   text not null
);
create index refused_command_event on refused_command (event_id);

-- The subject key that a parked key waits for: it is tried again when that has come.
alter table parked_key add column awaits text;
create index parked_awaits on parked_key (awaits) where awaits is not null;

-- What is to leave because of an event. It is claimed before it is sent; a claim that nobody settled
-- is of a process that died: nobody knows whether it went. `repeats`: then it is sent again, under
-- the same id, else it stays as unknown.
create table intent (
    intent_id     uuid primary key,
    effect        text not null,
    event_id      uuid not null,
    partition_key uuid not null,
    channel       text not null,
    repeats       boolean not null,
    content       jsonb not null,
    state         text not null default 'waiting'
                  check (state in ('waiting', 'claimed', 'sent', 'unknown', 'failed')),
    attempts      int not null default 0,
    due_at        timestamptz not null default now(),
    claimed_at    timestamptz,
    claimed_by    text,
    outcome       text,
    meant_at      timestamptz not null default now(),
    settled_at    timestamptz
);
create index intent_due on intent (due_at) where state = 'waiting';
create index intent_claimed on intent (claimed_at) where state = 'claimed';
create index intent_event on intent (event_id);
