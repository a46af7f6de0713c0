-- Sessions of the application's users.
--
-- Data and last-seen are two tables, because they change at different rates. `session` changes when a request
-- changed something; `session_seen` changes every few seconds for every active user, in batches, and is narrow,
-- half empty and indexed by a coarse bucket only, so that almost every update stays on its page (HOT).
--
-- `data` maps each top-level key to [version at which it last changed, JSON text of its value]. The text is opaque
-- here: it may be ciphertext, and jsonb would refuse \u0000 and reorder keys. A save names, for every key it
-- changes, the version it started from. Equal versions: written. Otherwise nothing is written and the caller gets
-- what is there now.
--
-- Versions carry the arbiter's timeline in their high bits, so that a standby promoted without the last commits
-- never hands out a version that was seen before with other content.

create table holdfast.session (
  id_hash bytea primary key,
  version bigint not null,
  data jsonb not null,
  user_id text,
  created_at timestamptz not null,
  absolute_expires_at timestamptz not null,
  -- A tombstone: it outlives every request in flight, so that none of them can bring the session back.
  destroyed_at timestamptz,
  -- The save that wrote this version: repeated after a lost answer, it is recognised and not applied twice.
  last_save uuid not null
) with (fillfactor = 70);

create index session_by_user on holdfast.session (user_id) where destroyed_at is null;
create index session_by_destroyed on holdfast.session (destroyed_at) where destroyed_at is not null;
create index session_by_absolute on holdfast.session (absolute_expires_at);

create table holdfast.session_seen (
  id_hash bytea primary key,
  seen_at timestamptz not null,
  idle_ms bigint not null,
  instance text,
  expire_bucket integer not null
) with (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);

create index session_seen_by_bucket on holdfast.session_seen (expire_bucket);

create function holdfast.session_bucket(at timestamptz) returns integer
language sql immutable as $$
  select floor(extract(epoch from at) / 600)::integer
$$;

create function holdfast.session_interval(ms double precision) returns interval
language sql immutable as $$
  select ms * interval '1 millisecond'
$$;

create function holdfast.session_ms(span interval) returns double precision
language sql immutable as $$
  select (extract(epoch from span) * 1000)::double precision
$$;

create function holdfast.session_next_version(current_version bigint) returns bigint
language sql stable as $$
  select greatest(current_version + 1, holdfast.timeline()::bigint << 32)
$$;

-- One live session, or no row.
create function holdfast.session_load(p_id_hash bytea)
returns table (version bigint, data jsonb, idle_ms bigint, idle_remaining_ms double precision, absolute_remaining_ms double precision)
language sql stable as $$
  select s.version, s.data, n.idle_ms,
         holdfast.session_ms(n.seen_at - holdfast.now()) + n.idle_ms,
         holdfast.session_ms(s.absolute_expires_at - holdfast.now())
  from holdfast.session s
  join holdfast.session_seen n on n.id_hash = s.id_hash
  where s.id_hash = p_id_hash
    and s.destroyed_at is null
    and s.absolute_expires_at > holdfast.now()
    and n.seen_at + holdfast.session_interval(n.idle_ms) > holdfast.now()
$$;

-- p_delta: {"key": [version it started from (0: absent), "JSON text" | null (removed)]}.
-- p_new: the caller never read this session, so it may be inserted. A session that was read is updated or not at
-- all: never both, because an upsert is what brings a destroyed session back.
-- p_seen_version: the row version whose content the caller knows completely; data comes back when it is another.
-- p_notify: tell every instance that its copy is old. Most saves need not: the user's own cookie tells.
-- outcome: saved | conflict | destroyed | expired | gone.
create function holdfast.session_save(
  p_id_hash bytea, p_new boolean, p_delta jsonb, p_seen_version bigint, p_save uuid,
  p_user_known boolean, p_user text, p_idle_ms bigint, p_absolute_ms double precision, p_instance text, p_notify boolean)
returns table (outcome text, version bigint, data jsonb, absolute_remaining_ms double precision)
language plpgsql as $$
declare
  at timestamptz := holdfast.now();
  s holdfast.session%rowtype;
  found_row boolean;
  live boolean;
  next_version bigint;
  next_data jsonb;
begin
  select * into s from holdfast.session t where t.id_hash = p_id_hash for update;
  found_row := found;
  if not found_row and p_new then
    next_version := holdfast.session_next_version(0);
    insert into holdfast.session as t (id_hash, version, data, user_id, created_at, absolute_expires_at, last_save)
    values (p_id_hash, next_version, holdfast.session_apply('{}', p_delta, next_version), p_user, at,
            at + holdfast.session_interval(p_absolute_ms), p_save)
    on conflict (id_hash) do nothing;
    if found then
      perform holdfast.session_seen_now(p_id_hash, at, p_idle_ms, p_instance);
      return query select 'saved'::text, next_version, null::jsonb, p_absolute_ms;
      return;
    end if;
    select * into s from holdfast.session t where t.id_hash = p_id_hash for update;
    found_row := found;
  end if;
  if not found_row then
    return query select 'gone'::text, 0::bigint, null::jsonb, 0::double precision;
    return;
  end if;
  if s.destroyed_at is not null then
    return query select 'destroyed'::text, s.version, null::jsonb, 0::double precision;
    return;
  end if;

  select s.absolute_expires_at > at and n.seen_at + holdfast.session_interval(n.idle_ms) > at into live
  from holdfast.session_seen n where n.id_hash = p_id_hash;
  if not coalesce(live, false) then
    if not p_new then
      return query select 'expired'::text, s.version, null::jsonb, 0::double precision;
      return;
    end if;
    -- Saved as new over one that ran out: nothing of the old one survives.
    s.data := '{}';
    s.absolute_expires_at := at + holdfast.session_interval(p_absolute_ms);
    s.user_id := null;
    s.created_at := at;
  elsif s.last_save = p_save then
    if p_notify then
      perform pg_notify('holdfast_sessions', encode(p_id_hash, 'hex'));
    end if;
    return query select 'saved'::text, s.version, s.data, holdfast.session_ms(s.absolute_expires_at - at);
    return;
  end if;

  if exists (
    select 1 from jsonb_each(p_delta) d
    where coalesce((s.data -> d.key ->> 0)::bigint, 0) <> (d.value ->> 0)::bigint
  ) then
    return query select 'conflict'::text, s.version, s.data, holdfast.session_ms(s.absolute_expires_at - at);
    return;
  end if;

  next_version := holdfast.session_next_version(s.version);
  next_data := holdfast.session_apply(s.data, p_delta, next_version);
  update holdfast.session t
  set version = next_version, data = next_data, last_save = p_save,
      user_id = case when p_user_known then p_user else s.user_id end,
      created_at = s.created_at, absolute_expires_at = s.absolute_expires_at
  where t.id_hash = p_id_hash;
  perform holdfast.session_seen_now(p_id_hash, at, p_idle_ms, p_instance);
  if p_notify then
    perform pg_notify('holdfast_sessions', encode(p_id_hash, 'hex'));
  end if;
  return query select 'saved'::text, next_version,
    case when s.version is distinct from p_seen_version then next_data end,
    holdfast.session_ms(s.absolute_expires_at - at);
end
$$;

create function holdfast.session_apply(p_data jsonb, p_delta jsonb, p_version bigint) returns jsonb
language sql immutable as $$
  select (p_data - coalesce((select array_agg(d.key) from jsonb_each(p_delta) d where jsonb_typeof(d.value -> 1) = 'null'), '{}'::text[]))
    || coalesce((select jsonb_object_agg(d.key, jsonb_build_array(p_version, d.value -> 1))
                 from jsonb_each(p_delta) d where jsonb_typeof(d.value -> 1) <> 'null'), '{}'::jsonb)
$$;

create function holdfast.session_seen_now(p_id_hash bytea, p_at timestamptz, p_idle_ms bigint, p_instance text)
returns void language sql as $$
  insert into holdfast.session_seen as n (id_hash, seen_at, idle_ms, instance, expire_bucket)
  values (p_id_hash, p_at, p_idle_ms, p_instance, holdfast.session_bucket(p_at + holdfast.session_interval(p_idle_ms)))
  on conflict (id_hash) do update
  set seen_at = greatest(n.seen_at, excluded.seen_at), idle_ms = excluded.idle_ms, instance = excluded.instance,
      expire_bucket = excluded.expire_bucket
$$;

-- Many touches in one statement. The last of each session happened `age` ago on the instance's clock, the first one
-- not yet written `first_age` ago, and the instance vouches for no longer pause in between. They count only where
-- the session was still alive at the first, and never move last-seen back. Rows are locked in one order, so that two
-- instances flushing the same users cannot deadlock. What comes back are the versions as they are now: the
-- instance drops every cached copy that is older.
create function holdfast.session_touch(p_ids bytea[], p_first_ages_ms double precision[], p_ages_ms double precision[], p_idles_ms bigint[], p_instance text)
returns table (id_hash bytea, version bigint)
language sql as $$
  with touch as (
    select t.id_hash, holdfast.now() - holdfast.session_interval(t.first_age_ms) as first_at,
           holdfast.now() - holdfast.session_interval(t.age_ms) as at, t.idle_ms
    from unnest(p_ids, p_first_ages_ms, p_ages_ms, p_idles_ms) as t (id_hash, first_age_ms, age_ms, idle_ms)
  ), locked as (
    select n.id_hash from holdfast.session_seen n
    where n.id_hash in (select t.id_hash from touch t)
    order by n.id_hash for no key update
  ), seen as (
    update holdfast.session_seen n
    set seen_at = greatest(n.seen_at, t.at),
        idle_ms = t.idle_ms,
        instance = case when t.at >= n.seen_at then p_instance else n.instance end,
        expire_bucket = holdfast.session_bucket(greatest(n.seen_at, t.at) + holdfast.session_interval(t.idle_ms))
    from touch t
    where n.id_hash = t.id_hash
      and n.id_hash in (select l.id_hash from locked l)
      and t.first_at < n.seen_at + holdfast.session_interval(n.idle_ms)
    returning n.id_hash
  )
  select s.id_hash, s.version from holdfast.session s
  where s.id_hash in (select e.id_hash from seen e) and s.destroyed_at is null
$$;

-- Destroys the sessions given, leaves tombstones without content, and tells every instance.
create function holdfast.session_destroy(p_ids bytea[]) returns integer
language plpgsql as $$
declare
  doomed bytea;
  destroyed integer := 0;
begin
  for doomed in
    select s.id_hash from holdfast.session s
    where s.id_hash = any (p_ids) and s.destroyed_at is null
    order by s.id_hash for update
  loop
    update holdfast.session s
    set destroyed_at = holdfast.now(), data = '{}', version = holdfast.session_next_version(s.version)
    where s.id_hash = doomed;
    delete from holdfast.session_seen n where n.id_hash = doomed;
    perform pg_notify('holdfast_sessions', encode(doomed, 'hex'));
    destroyed := destroyed + 1;
  end loop;
  return destroyed;
end
$$;

create function holdfast.session_revoke_user(p_user text) returns integer
language sql as $$
  select holdfast.session_destroy(coalesce(
    (select array_agg(s.id_hash) from holdfast.session s where s.user_id = p_user and s.destroyed_at is null), '{}'))
$$;

-- Sessions that ran out and tombstones that nobody can need any more, oldest first, a few at a time. Rows that
-- somebody works on are left for the next time. Ten minutes of grace: touches may still wait in an instance's memory.
create function holdfast.session_prune(p_limit integer) returns integer
language plpgsql as $$
declare
  at timestamptz := holdfast.now();
  grace interval := interval '10 minutes';
  doomed bytea[];
begin
  select coalesce(array_agg(x.id_hash), '{}') into doomed from (
    select s.id_hash from holdfast.session_seen n
    join holdfast.session s on s.id_hash = n.id_hash
    where n.expire_bucket <= holdfast.session_bucket(at - grace)
      and n.seen_at + holdfast.session_interval(n.idle_ms) < at - grace
    order by n.expire_bucket, n.id_hash limit p_limit
    for update skip locked
  ) x;
  if cardinality(doomed) < p_limit then
    select doomed || coalesce(array_agg(x.id_hash), '{}') into doomed from (
      select s.id_hash from holdfast.session s
      join holdfast.session_seen n on n.id_hash = s.id_hash
      where s.absolute_expires_at < at - grace and s.id_hash <> all (doomed)
      order by s.absolute_expires_at, s.id_hash limit p_limit - cardinality(doomed)
      for update skip locked
    ) x;
  end if;
  if cardinality(doomed) < p_limit then
    select doomed || coalesce(array_agg(x.id_hash), '{}') into doomed from (
      select s.id_hash from holdfast.session s
      where s.destroyed_at < at - interval '1 hour'
      order by s.destroyed_at, s.id_hash limit p_limit - cardinality(doomed)
      for update skip locked
    ) x;
  end if;
  delete from holdfast.session_seen n where n.id_hash = any (doomed);
  delete from holdfast.session s where s.id_hash = any (doomed);
  return cardinality(doomed);
end
$$;
