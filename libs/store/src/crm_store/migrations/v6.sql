-- Timers that can be made anew from the log. Released: a later change comes in a file of its own.

-- Records that came back from Kafka lie in this epoch.
alter table log_epoch add column recovered boolean not null default false;

-- By what the timers of a kind of stream were made, and in which epoch. Where that is not what they
-- follow from by now, or records came back since, they are made anew.
create table timers_made (
    decider text primary key,
    basis   text not null,
    epoch   int not null
);
