-- Messages that are part of a trace, and know how old what they are because of is. Released: a later
-- change comes in a file of its own.

-- `traceparent`: of the event, where it keeps one. `recorded_at`: of the event; null in what was
-- meant before there was this column.
alter table intent
    add column traceparent text,
    add column recorded_at timestamptz;
