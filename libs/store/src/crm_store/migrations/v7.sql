-- Read models that are paused or built anew. Released: a later change comes as v8.sql.

-- `term` rises whenever somebody takes a model from whoever folds it: what was written down under an
-- older term moves nothing. `held_until`: it stands still for a moment, while tables change places.
-- `built_at`: when it was first level with the log. `tables`: where its rows are.
alter table projection_checkpoint
    add column term       bigint not null default 0,
    add column held_until timestamptz,
    add column paused_at  timestamptz,
    add column paused_by  text,
    add column paused_for text,
    add column built_at   timestamptz,
    add column tables     text[] not null default '{}';
update projection_checkpoint set built_at = moved_at;
