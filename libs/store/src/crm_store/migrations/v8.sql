-- Messages that are part of a trace, and know when their event was recorded. Released: a later change
-- comes in a file of its own.

-- `traceparent`: of the event, where it keeps one. `recorded_at`: of the event; null in what was
-- meant before there was this column.
alter table intent
    add column traceparent text,
    add column recorded_at timestamptz;
