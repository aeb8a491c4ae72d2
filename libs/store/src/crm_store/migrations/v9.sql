-- Messages that nobody needs any more before they left. Released: a later change comes in a file of
-- its own.

-- `stream_id`: of the event; null in what was meant before there was this column, which always goes.
-- `withdrawn`: not sent again, whatever comes of a sending that is under way. The check is wider than
-- before, so no row is looked at.
alter table intent
    add column stream_id uuid,
    add column withdrawn boolean not null default false,
    drop constraint intent_state_check,
    add constraint intent_state_check
        check (state in ('waiting', 'claimed', 'sent', 'unknown', 'failed', 'withdrawn')) not valid;
