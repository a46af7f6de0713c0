-- Scheduled events: when each was last looked at, what became of every due moment, and who works on what.
--
-- A cursor for each event and place: every due moment up to it is in the ledger, none after it is. Whoever moves it
-- names the value it expects, so of many agents that know the same calendar exactly one records each moment, and
-- nobody needs to be leader. The place is '' for an event that runs once in the cluster, else an instance's name.
--
-- The cursor's row is also the lock of its event there. Whatever changes an occurrence takes it first, so that
-- "does the previous one still run?" cannot be answered from two sides at once. Locks are taken in one order:
-- member, cursors by name, then the rest.

-- The start of the statement, also inside an application's own transaction, which may have begun long before.
create or replace function holdfast.now() returns timestamptz language sql stable parallel safe as
$$ select statement_timestamp() $$;

-- Rises with whatever agents must look at again: members, definitions, appointments.
create table holdfast.change (
  only_row boolean primary key default true check (only_row),
  number   bigint not null
);
insert into holdfast.change (number) values (1);

create table holdfast.event (
  name          text primary key,
  definition    jsonb not null,
  revision      bigint not null,
  -- No longer in the configuration since that revision.
  retired       boolean not null default false,
  -- The outcomes that somebody is to be told of.
  alarm         text[] not null default '{}',
  paused_at     timestamptz,
  paused_by     text,
  paused_reason text
);

create table holdfast.event_cursor (
  event    text not null references holdfast.event (name) on delete cascade,
  place    text not null,
  cursor   timestamptz not null,
  -- By which the cursor moves; the digest is what agents compare.
  calendar jsonb,
  digest   text not null,
  revision bigint not null,
  primary key (event, place)
) with (fillfactor = 50);

-- The ledger. Due moments that were missed in a row are one line: from `due` to `last_due`, `dues` of them.
create table holdfast.occurrence (
  id          bigint primary key default holdfast.next_token(),
  event       text not null,
  place       text not null,
  due         timestamptz not null,
  last_due    timestamptz not null,
  dues        int not null default 1,
  cause       text not null check (cause in ('schedule', 'manual')),
  state       text not null check (state in ('waiting', 'running', 'done')),
  outcome     text check (outcome in ('succeeded', 'failed', 'skipped', 'missed', 'abandoned')),
  reason      text,
  -- While it waits: for the moment, and for something else than time.
  not_before  timestamptz not null,
  held        text check (held in ('predecessor', 'fence')),
  fence_of    text,
  -- The instance that is to go on with it, if it can.
  prefer      text,
  attempts    int not null default 0,
  reruns_left int not null,
  -- Of a manual one: who asked for it, and with what.
  asked_by    text,
  payload     jsonb,
  ended_at    timestamptz,
  -- A person may ask for one in the very millisecond in which another is due.
  unique (event, place, due, cause),
  check ((state = 'done') = (outcome is not null)),
  check ((state = 'done') = (ended_at is not null))
) with (fillfactor = 70);
create index occurrence_waiting on holdfast.occurrence (not_before) where state = 'waiting' and held is null;
create index occurrence_open on holdfast.occurrence (event, place, due) where state <> 'done';
create index occurrence_ended on holdfast.occurrence (ended_at) where state = 'done';

create table holdfast.run (
  token        bigint primary key,
  occurrence   bigint not null references holdfast.occurrence (id) on delete cascade,
  attempt      int not null,
  instance     text not null,
  member_token bigint not null,
  started_at   timestamptz not null,
  ended_at     timestamptz,
  outcome      text check (outcome in ('succeeded', 'failed', 'lost', 'handed over', 'returned')),
  reason       text,
  result       text,
  check ((ended_at is null) = (outcome is null))
) with (fillfactor = 70);
create index run_of_occurrence on holdfast.run (occurrence);
create index run_unfinished on holdfast.run (instance) where ended_at is null;

-- Somebody is to be told of this occurrence's outcome; the row goes when they have been.
create table holdfast.alarm (
  id         bigint primary key default holdfast.next_token(),
  occurrence bigint not null references holdfast.occurrence (id) on delete cascade,
  not_before timestamptz not null,
  tries      int not null default 0,
  error      text
);

create index alarm_of_occurrence on holdfast.alarm (occurrence);
create index alarm_due on holdfast.alarm (not_before);

-- A lost instance that must be fenced before its events are run elsewhere.
create table holdfast.fence (
  instance   text primary key,
  -- The agent that was lost: proof that another one is dead is no proof that this one is.
  agent_id   text,
  asked_at   timestamptz not null,
  done_at    timestamptz,
  not_before timestamptz not null,
  tries      int not null default 0,
  error      text
);

create function holdfast.ms(p_moment timestamptz) returns double precision language sql immutable parallel safe as
$$ select round(extract(epoch from p_moment) * 1000, 3)::float8 $$;

create function holdfast.moment(p_ms double precision) returns timestamptz language sql immutable parallel safe as
$$ select to_timestamp(p_ms / 1000) $$;

create function holdfast.event_lock(p_places jsonb) returns void language plpgsql volatile as $$
begin
  perform from holdfast.event_cursor c
  where (c.event, c.place) in (select x.event, x.place from jsonb_to_recordset(p_places) as x(event text, place text))
  order by c.event, c.place for update;
end $$;

-- What follows from an occurrence's end, however it came: the next one in line may start, somebody is told.
create function holdfast.occurrence_done() returns trigger language plpgsql as $$
declare
  next_id bigint;
begin
  insert into holdfast.alarm (occurrence, not_before)
  select new.id, holdfast.now() from holdfast.event e where e.name = new.event and new.outcome = any (e.alarm);
  if tg_op = 'UPDATE' and not exists (select from holdfast.occurrence o
      where o.event = new.event and o.place = new.place and o.state <> 'done' and o.held is distinct from 'predecessor') then
    select o.id into next_id from holdfast.occurrence o
    where o.event = new.event and o.place = new.place and o.state = 'waiting' and o.held = 'predecessor'
    order by o.due limit 1;
    if found then
      update holdfast.occurrence set held = null, not_before = holdfast.now() where id = next_id;
      perform pg_notify('holdfast_events', '');
    end if;
  end if;
  return null;
end $$;
create trigger occurrence_inserted_done after insert on holdfast.occurrence
for each row when (new.state = 'done') execute function holdfast.occurrence_done();
create trigger occurrence_became_done after update on holdfast.occurrence
for each row when (new.state = 'done' and old.state <> 'done') execute function holdfast.occurrence_done();

-- Ends a run and says what becomes of its occurrence. The caller holds the cursor's lock and knows that it runs.
create function holdfast.run_end(
  p_token bigint, p_outcome text, p_reason text, p_result text, p_retry_ms double precision, p_prefer text, p_fence text
) returns void language plpgsql volatile as $$
declare
  moment timestamptz := holdfast.now();
  o holdfast.occurrence;
  waits boolean;
  wait_ms double precision := coalesce(p_retry_ms, 0);
  final text;
begin
  update holdfast.run r set ended_at = moment, outcome = p_outcome, reason = p_reason, result = p_result
  where r.token = p_token;
  select x.* into o from holdfast.occurrence x join holdfast.run r on r.occurrence = x.id where r.token = p_token;
  waits := case p_outcome
    when 'succeeded' then false
    when 'failed' then p_retry_ms is not null
    when 'lost' then o.reruns_left > 0
    else true end;
  if waits and exists (select from holdfast.event e where e.name = o.event and e.retired) then
    waits := false;
    final := 'abandoned';
    p_reason := concat_ws('; ', p_reason, 'the event is no longer in the configuration');
  end if;
  update holdfast.occurrence x set
    state = case when waits then 'waiting' else 'done' end,
    outcome = case when not waits then coalesce(final, replace(p_outcome, 'lost', 'abandoned')) end,
    reason = p_reason,
    ended_at = case when not waits then moment end,
    not_before = moment + wait_ms * interval '1 ms',
    held = case when waits and p_fence is not null then 'fence' end,
    fence_of = case when waits then p_fence end,
    prefer = p_prefer,
    reruns_left = x.reruns_left - (p_outcome = 'lost' and waits)::int
  where x.id = o.id;
  if waits and wait_ms = 0 and p_fence is null then
    perform pg_notify('holdfast_events', '');
  end if;
end $$;

-- A member has ended: its runs are lost with it, in the same statement, so its tokens are worth nothing from then
-- on. A death that nobody saw is fenced first, where the configuration says so.
create function holdfast.member_ended() returns trigger language plpgsql as $$
declare
  unfinished record;
  seen boolean := old.left_at is not null or new.left_at is not null or old.agent_id = new.agent_id and new.state <> 'lost'
    or old.agent_id = any (string_to_array(coalesce(current_setting('holdfast.proved_dead', true), ''), ','));
  fence text;
begin
  if (old.facts ->> 'fence')::boolean is true and not seen and old.state <> 'lost' then
    fence := old.instance;
    -- Whoever waited for a fence that is not up yet never came past it: the fence stays that of the one before.
    insert into holdfast.fence as f (instance, agent_id, asked_at, not_before)
    values (old.instance, old.agent_id, holdfast.now(), holdfast.now())
    on conflict (instance) do update set
      agent_id = case when f.done_at is null then f.agent_id else excluded.agent_id end, asked_at = excluded.asked_at, done_at = null,
      not_before = excluded.not_before, tries = 0, error = null;
  end if;
  perform holdfast.event_lock((select jsonb_agg(jsonb_build_object('event', o.event, 'place', o.place))
    from holdfast.run r join holdfast.occurrence o on o.id = r.occurrence
    where r.instance = old.instance and r.member_token = old.token and r.ended_at is null));
  for unfinished in
    select r.token from holdfast.run r
    where r.instance = old.instance and r.member_token = old.token and r.ended_at is null order by r.token
  loop
    perform holdfast.run_end(unfinished.token, 'lost',
      coalesce(new.ended_because, format('%s was started anew', new.instance)), null, null, null, fence);
  end loop;
  return null;
end $$;
create trigger member_ended after update on holdfast.member for each row
when (new.token <> old.token or (new.left_at is not null and old.left_at is null))
execute function holdfast.member_ended();

create function holdfast.members_changed() returns trigger language plpgsql as $$
begin
  update holdfast.change set number = number + 1;
  return null;
end $$;
create trigger members_changed_by_insert after insert on holdfast.member
for each row execute function holdfast.members_changed();
create trigger members_changed_by_update after update on holdfast.member for each row
when (new.token <> old.token or new.state <> old.state or new.left_at is distinct from old.left_at
  or new.maintenance <> old.maintenance)
execute function holdfast.members_changed();

-- A named lease of a lost instance is not granted to another one before that instance is fenced. Whether it is lost is
-- read when the lease's row is locked, so this is asked after the grant, which it takes back.
alter function holdfast.lease_acquire(text, text, bigint) rename to lease_take;
create function holdfast.lease_acquire(p_name text, p_instance text, p_member_token bigint)
returns table (outcome text, holder text, token bigint) language plpgsql volatile as $$
declare
  before text;
  taken record;
begin
  select l.holder into before from holdfast.lease l where l.name = p_name for update;
  begin
    select * into taken from holdfast.lease_take(p_name, p_instance, p_member_token);
    if before <> p_instance and exists (select from holdfast.fence f where f.instance = before and f.done_at is null)
        and exists (select from holdfast.lease l where l.name = p_name and l.holder = p_instance) then
      raise exception using errcode = 'HF002', message = before || ' is not fenced yet';
    end if;
  exception when sqlstate 'HF002' then
    return query select 'held', before, null::bigint;
    return;
  end;
  return query select taken.outcome, taken.holder, taken.token;
end $$;
create trigger lease_ended after delete on holdfast.lease for each row
when (old.name like 'event:%') execute function holdfast.members_changed();

-- The membership that its holder is known to have heard of: it has renewed it.
alter table holdfast.member add column heard_token bigint;

-- Join and heartbeat as before, with what events need: the deaths that were seen, and the news.
--
-- A request to join may have been under way for long while its agent gave up, asked again and joined. Granted, it
-- would end that membership and give its runs to others while they go on. So an agent that has renewed what it holds,
-- and was granted it on this timeline, is not granted it anew: it no longer asks.
alter function holdfast.member_join(text, text, text[], timestamptz, int, text, jsonb) rename to member_take;
create function holdfast.member_join(
  p_instance text, p_agent_id text, p_proved_dead text[], p_watched timestamptz,
  p_ttl_ms int, p_state text, p_facts jsonb
) returns jsonb language plpgsql volatile as $$
declare
  held holdfast.member;
begin
  select * into held from holdfast.member m where m.instance = p_instance for update;
  if held.agent_id = p_agent_id and held.heard_token = held.token and held.token >> 40 = holdfast.timeline()
      and held.state <> 'lost' and held.left_at is null then
    return jsonb_build_object('outcome', 'held', 'facts', held.facts, 'incarnation', held.incarnation,
      'renewedAt', held.renewed_at::text, 'timeline', holdfast.timeline(),
      'remainingMs', extract(epoch from held.lease_until - holdfast.now()) * 1000);
  end if;
  perform set_config('holdfast.proved_dead', array_to_string(p_proved_dead, ','), true);
  return holdfast.member_take(p_instance, p_agent_id, p_proved_dead, p_watched, p_ttl_ms, p_state, p_facts);
end $$;

-- What a heartbeat brings back for events: the arbiter's time; the runs that this member is believed to work on;
-- in how many milliseconds something that waits may be claimed here (null: nothing waits).
create function holdfast.event_news(p_instance text, p_token bigint) returns jsonb language sql stable as $$
  select jsonb_build_object(
    'nowMs', holdfast.ms(holdfast.now()),
    'change', (select c.number from holdfast.change c),
    'runs', coalesce((select jsonb_agg(r.token::text) from holdfast.run r
      where r.instance = p_instance and r.member_token = p_token and r.ended_at is null), '[]'),
    'waitingMs', (select holdfast.ms(o.not_before) - holdfast.ms(holdfast.now())
      from holdfast.occurrence o join holdfast.event e on e.name = o.event
      where o.state = 'waiting' and o.held is null and o.place in ('', p_instance)
        and not e.retired and (e.paused_at is null or o.cause = 'manual')
      order by o.not_before limit 1),
    'alarms', exists (select from holdfast.alarm a where a.not_before <= holdfast.now()),
    'fences', exists (select from holdfast.fence f where f.done_at is null and f.not_before <= holdfast.now()))
$$;

alter function holdfast.member_heartbeat(text, bigint, bigint, int, text, jsonb) rename to member_renew;
create function holdfast.member_heartbeat(
  p_instance text, p_incarnation bigint, p_token bigint, p_ttl_ms int, p_state text, p_facts jsonb
) returns jsonb language plpgsql volatile as $$
declare
  answer jsonb := holdfast.member_renew(p_instance, p_incarnation, p_token, p_ttl_ms, p_state, p_facts);
begin
  if answer ->> 'outcome' <> 'renewed' then
    return answer;
  end if;
  update holdfast.member m set heard_token = p_token
  where m.instance = p_instance and m.heard_token is distinct from p_token;
  return answer || jsonb_build_object('events', holdfast.event_news(p_instance, p_token));
end $$;

-- Makes the events of a revision known, each {name, place, calendar, digest, definition, alarm}, and retires those
-- that it no longer has. A place that is new begins now, and so does an event that comes back: nothing is due before
-- somebody asked for it. Answers the cursors, with the calendar where it is another one than the caller's: the due
-- moments of the old calendar must be settled (by a claim that names what it becomes) before the new one takes over.
create function holdfast.event_define(p_revision bigint, p_events jsonb) returns jsonb language plpgsql volatile as $$
declare
  removed text[];
  back text[];
begin
  select array_agg(x.name) into back from (
    select e.name from holdfast.event e
    join jsonb_to_recordset(p_events) as y(name text, definition jsonb) on y.name = e.name
    where e.revision < p_revision and (e.retired
      or (e.definition -> 'on' ->> 'kind' = 'each') <> (y.definition -> 'on' ->> 'kind' = 'each'))
    order by e.name for update of e) x;
  insert into holdfast.event as e (name, definition, revision, alarm)
  select x.name, x.definition, p_revision, x.alarm
  from jsonb_to_recordset(p_events) as x(name text, definition jsonb, alarm text[])
  order by x.name
  on conflict (name) do update set definition = excluded.definition, revision = excluded.revision,
    alarm = excluded.alarm, retired = false
  where e.revision < excluded.revision;
  insert into holdfast.event_cursor (event, place, cursor, calendar, digest, revision)
  select x.name, x.place, date_trunc('milliseconds', holdfast.now()), x.calendar, x.digest, p_revision
  from jsonb_to_recordset(p_events) as x(name text, place text, calendar jsonb, digest text)
  order by x.name, x.place
  on conflict do nothing;
  if back is not null then
    update holdfast.event_cursor c set cursor = greatest(c.cursor, date_trunc('milliseconds', holdfast.now()))
    where c.event = any (back);
    perform holdfast.event_lock((select jsonb_agg(jsonb_build_object('event', c.event, 'place', c.place))
      from holdfast.event_cursor c where c.event = any (back)));
    update holdfast.occurrence o set state = 'done', outcome = 'skipped', ended_at = holdfast.now(),
      reason = format('revision %s changed where the event runs', p_revision)
    from holdfast.event e
    where o.state = 'waiting' and o.event = any (back) and e.name = o.event
      and (o.place <> '') <> (e.definition -> 'on' ->> 'kind' = 'each');
  end if;
  with retired as (
    update holdfast.event e set retired = true, revision = p_revision
    where e.revision < p_revision and not e.retired
      and not exists (select from jsonb_to_recordset(p_events) as x(name text) where x.name = e.name)
    returning e.name)
  select array_agg(name) into removed from retired;
  if removed is not null then
    perform holdfast.event_lock((select jsonb_agg(jsonb_build_object('event', c.event, 'place', c.place))
      from holdfast.event_cursor c where c.event = any (removed)));
    update holdfast.occurrence o set state = 'done', outcome = 'skipped', ended_at = holdfast.now(),
      reason = format('the event is no longer in the configuration since revision %s', p_revision)
    where o.state = 'waiting' and o.event = any (removed);
  end if;
  return (select coalesce(jsonb_agg(jsonb_build_object('event', c.event, 'place', c.place,
      'cursorMs', holdfast.ms(c.cursor), 'revision', c.revision, 'digest', c.digest,
      'calendar', case when c.digest <> x.digest then c.calendar end) order by c.event, c.place), '[]')
    from jsonb_to_recordset(p_events) as x(name text, place text, digest text)
    join holdfast.event_cursor c on c.event = x.name and c.place = x.place
    join holdfast.event e on e.name = c.event and not e.retired);
end $$;

-- One occurrence that is due, as the policy of its event says: run, put in line, or skipped with the reason.
create function holdfast.occurrence_plan(
  p_event text, p_place text, p_due timestamptz, p_overlap text, p_in_line boolean, p_reruns int
) returns holdfast.occurrence language plpgsql volatile as $$
declare
  moment timestamptz := holdfast.now();
  e holdfast.event;
  before record;
  planned holdfast.occurrence;
  why text;
  held_by text;
begin
  select * into e from holdfast.event x where x.name = p_event;
  select o.due, o.state, r.instance into before from holdfast.occurrence o
  left join holdfast.run r on r.occurrence = o.id and r.ended_at is null
  where o.event = p_event and o.place = p_place and o.state <> 'done' order by o.due limit 1;
  if e.paused_at is not null then
    why := format('paused by %s: %s', e.paused_by, e.paused_reason);
  elsif before.due is not null and (p_overlap <> 'allow' or p_in_line) then
    if p_overlap = 'skip' and not p_in_line then
      why := format('the occurrence of %s %s', to_char(before.due at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
        coalesce('still runs on ' || before.instance, 'still waits'));
    else
      held_by := 'predecessor';
    end if;
  end if;
  insert into holdfast.occurrence as o
    (event, place, due, last_due, cause, state, outcome, reason, not_before, held, reruns_left, ended_at)
  values (p_event, p_place, p_due, p_due, 'schedule', case when why is null then 'waiting' else 'done' end,
    case when why is not null then 'skipped' end, why, moment, held_by, p_reruns,
    case when why is not null then moment end)
  on conflict (event, place, due, cause) do nothing
  returning o.* into planned;
  return planned;
end $$;

create function holdfast.run_start(p_occurrence bigint, p_instance text, p_member_token bigint) returns jsonb
language plpgsql volatile as $$
declare
  o holdfast.occurrence;
  granted bigint := holdfast.next_token();
begin
  update holdfast.occurrence x set state = 'running', attempts = x.attempts + 1, prefer = null, fence_of = null
  where x.id = p_occurrence returning x.* into o;
  insert into holdfast.run (token, occurrence, attempt, instance, member_token, started_at)
  values (granted, o.id, o.attempts, p_instance, p_member_token, holdfast.now());
  return jsonb_build_object('outcome', 'granted', 'occurrence', o.id::text, 'token', granted::text,
    'dueMs', holdfast.ms(o.due), 'attempt', o.attempts, 'cause', o.cause, 'payload', o.payload,
    'failures', (select count(*) from holdfast.run r where r.occurrence = o.id and r.outcome = 'failed'));
end $$;

-- A claim of due moments: the cursor must still be where the claimant thinks it is, the calendar the same, and the
-- moment must have come on the arbiter's clock. Everything the cursor passes gets its line in the ledger.
create function holdfast.claim_due(p_claim jsonb, p_instance text, p_member_token bigint) returns jsonb
language plpgsql volatile as $$
declare
  moment timestamptz := holdfast.now();
  c holdfast.event_cursor;
  target timestamptz := holdfast.moment((p_claim ->> 'toMs')::float8);
  gone boolean;
  due_ms float8;
  planned holdfast.occurrence;
  answer jsonb;
begin
  select * into c from holdfast.event_cursor x where x.event = p_claim ->> 'event' and x.place = p_claim ->> 'place';
  select e.retired into gone from holdfast.event e where e.name = c.event;
  if gone is not false or (c.digest <> p_claim ->> 'digest') then
    return jsonb_build_object('outcome', 'changed');
  elsif c.cursor <> holdfast.moment((p_claim ->> 'cursorMs')::float8) then
    return jsonb_build_object('outcome', 'moved', 'cursorMs', holdfast.ms(c.cursor));
  elsif target > moment then
    return jsonb_build_object('outcome', 'early', 'waitMs', holdfast.ms(target) - holdfast.ms(moment));
  end if;
  update holdfast.event_cursor x set cursor = target,
    calendar = coalesce(p_claim -> 'become' -> 'calendar', x.calendar),
    digest = coalesce(p_claim -> 'become' ->> 'digest', x.digest),
    revision = coalesce((p_claim -> 'become' ->> 'revision')::bigint, x.revision)
  where x.event = c.event and x.place = c.place;
  if jsonb_typeof(p_claim -> 'missed') = 'object' then
    insert into holdfast.occurrence
      (event, place, due, last_due, dues, cause, state, outcome, reason, not_before, reruns_left, ended_at)
    values (c.event, c.place, holdfast.moment((p_claim -> 'missed' ->> 'firstMs')::float8),
      holdfast.moment((p_claim -> 'missed' ->> 'lastMs')::float8), (p_claim -> 'missed' ->> 'count')::int,
      'schedule', 'done', 'missed', p_claim -> 'missed' ->> 'reason', moment, 0, moment)
    on conflict do nothing;
  end if;
  answer := jsonb_build_object('outcome', 'recorded');
  for due_ms in select value::float8 from jsonb_array_elements_text(p_claim -> 'dueMs') loop
    planned := holdfast.occurrence_plan(c.event, c.place, holdfast.moment(due_ms), p_claim ->> 'overlap',
      (p_claim ->> 'inLine')::boolean, (p_claim ->> 'reruns')::int);
    if planned.state = 'waiting' and planned.held is null and answer ->> 'outcome' <> 'granted' then
      answer := holdfast.run_start(planned.id, p_instance, p_member_token);
    elsif planned.state = 'done' then
      answer := jsonb_build_object('outcome', 'skipped', 'reason', planned.reason);
    elsif planned.state = 'waiting' and planned.held is null then
      perform pg_notify('holdfast_events', '');
    end if;
  end loop;
  return answer || jsonb_build_object('cursorMs', holdfast.ms(target));
end $$;

-- A claim of something that waits: a retry, a rerun, one in line, one that a person asked for.
create function holdfast.claim_waiting(p_claim jsonb, p_instance text, p_member_token bigint) returns jsonb
language plpgsql volatile as $$
declare
  free bigint;
begin
  select o.id into free from holdfast.occurrence o join holdfast.event e on e.name = o.event
  where o.id = (p_claim ->> 'occurrence')::bigint and o.state = 'waiting' and o.held is null
    and o.not_before <= holdfast.now() and o.place in ('', p_instance)
    and not e.retired and (e.paused_at is null or o.cause = 'manual')
    and (e.definition ->> 'overlap' = 'allow' or not exists (select from holdfast.occurrence x
      where x.event = o.event and x.place = o.place and x.state = 'running'));
  if free is null then
    return jsonb_build_object('outcome', 'taken');
  end if;
  return holdfast.run_start(free, p_instance, p_member_token);
end $$;

-- Claims, as many as the caller has gathered, each granted or refused by itself. The caller must hold its lease; its
-- row is locked, so that it cannot be declared lost between the question and the grant. For one ttl after a failover
-- nothing is granted: what was granted last may be unknown here, and is still acted upon.
create function holdfast.event_claim(p_instance text, p_member_token bigint, p_claims jsonb) returns jsonb
language plpgsql volatile as $$
declare
  me holdfast.member;
  wait_ms int;
  claim jsonb;
  answers jsonb[] := '{}';
begin
  select * into me from holdfast.member m
  where m.instance = p_instance and m.token = p_member_token and m.lease_until >= holdfast.now()
    and m.state <> 'lost' and m.left_at is null
  for no key update;
  if not found then
    return jsonb_build_object('outcome', 'fenced');
  end if;
  wait_ms := holdfast.grace_ms(me.ttl_ms);
  if wait_ms > 0 then
    return jsonb_build_object('outcome', 'grace', 'waitMs', wait_ms);
  end if;
  -- Most claims are of agents that were not first. A cursor never comes back to where it was, so they need no lock.
  perform holdfast.event_lock((select jsonb_agg(x.value) from jsonb_array_elements(p_claims) as x(value)
    where x.value ? 'occurrence' or exists (select from holdfast.event_cursor c
      where c.event = x.value ->> 'event' and c.place = x.value ->> 'place'
        and c.cursor = holdfast.moment((x.value ->> 'cursorMs')::float8))));
  for claim in select value from jsonb_array_elements(p_claims) loop
    answers := array_append(answers, case when claim ? 'occurrence'
      then holdfast.claim_waiting(claim, p_instance, p_member_token)
      else holdfast.claim_due(claim, p_instance, p_member_token) end);
  end loop;
  return jsonb_build_object('outcome', 'answered', 'nowMs', holdfast.ms(holdfast.now()), 'answers', to_jsonb(answers));
end $$;

-- Results, each under its run's token. A run that has ended already keeps the end it has.
create function holdfast.event_finish(p_results jsonb) returns jsonb language plpgsql volatile as $$
declare
  given jsonb;
  r holdfast.run;
  answers jsonb[] := '{}';
  successor text;
begin
  perform holdfast.event_lock((select jsonb_agg(jsonb_build_object('event', o.event, 'place', o.place))
    from jsonb_array_elements(p_results) as x(value)
    join holdfast.run y on y.token = (x.value ->> 'token')::bigint
    join holdfast.occurrence o on o.id = y.occurrence));
  for given in select value from jsonb_array_elements(p_results) loop
    select * into r from holdfast.run x where x.token = (given ->> 'token')::bigint;
    successor := null;
    if not found then
      answers := array_append(answers, jsonb_build_object('outcome', 'unknown'));
    elsif r.ended_at is not null then
      answers := array_append(answers, jsonb_build_object('outcome', case when r.outcome = given ->> 'outcome' then 'done' else 'ended' end,
        'was', r.outcome, 'reason', r.reason));
    else
      if given ->> 'outcome' = 'handed over' then
        select m.instance into successor from holdfast.member m
        where m.instance = given ->> 'prefer' and m.state = 'up' and m.left_at is null and m.lease_until >= holdfast.now();
        if successor is null then
          answers := array_append(answers, jsonb_build_object('outcome', 'nobody'));
          continue;
        end if;
      end if;
      perform holdfast.run_end(r.token, given ->> 'outcome', given ->> 'reason', given ->> 'result',
        (given ->> 'retryMs')::float8, successor, null);
      answers := array_append(answers, jsonb_build_object('outcome', 'done'));
    end if;
  end loop;
  return to_jsonb(answers);
end $$;

-- The end of a run inside the application's own transaction: its effects and its outcome are committed together, or
-- neither is. Raises when the token is not (or no longer) the one that counts.
create function holdfast.run_commit(p_token bigint, p_result text) returns void language plpgsql volatile as $$
begin
  perform holdfast.run_check(p_token, true);
  perform holdfast.run_end(p_token, 'succeeded', null, p_result, null, null, null);
end $$;

create function holdfast.run_check(p_token bigint, p_lock boolean) returns void language plpgsql volatile as $$
declare
  r holdfast.run;
begin
  if p_lock then
    perform holdfast.event_lock((select jsonb_agg(jsonb_build_object('event', o.event, 'place', o.place))
      from holdfast.run x join holdfast.occurrence o on o.id = x.occurrence where x.token = p_token));
  end if;
  select * into r from holdfast.run x where x.token = p_token;
  if r.token is null or r.ended_at is not null then
    raise exception 'run % is fenced: %', p_token, coalesce(r.reason, r.outcome, 'unknown to the arbiter')
      using errcode = 'HF001';
  end if;
end $$;

-- What may be claimed at this place now, longest waiting first.
create function holdfast.event_waiting(p_instance text, p_limit int)
returns table (occurrence text, event text, place text, due_ms float8, attempts int, prefer text, lost_by text, since_ms float8)
language sql stable as $$
  select w.id::text, w.event, w.place, holdfast.ms(w.due), w.attempts, w.prefer,
    (select r.instance from holdfast.run r where r.occurrence = w.id and r.attempt = w.attempts and r.outcome = 'lost'),
    holdfast.ms(holdfast.now()) - holdfast.ms(w.not_before)
  from (select o.*, row_number() over (partition by o.event order by o.not_before) as rank
    from holdfast.occurrence o join holdfast.event e on e.name = o.event
    where o.state = 'waiting' and o.held is null and o.not_before <= holdfast.now() and o.place in ('', p_instance)
      and not e.retired and (e.paused_at is null or o.cause = 'manual')
      -- as a claim of it would be judged; else it would be asked for again and again
      and (e.definition ->> 'overlap' = 'allow' or not exists (select from holdfast.occurrence x
        where x.event = o.event and x.place = o.place and x.state = 'running'))) w
  where w.rank <= 20 -- an event that nobody can take now must not hide the others
  order by w.not_before limit p_limit
$$;

-- A person asks for a run now: at every place that lives, behind the one that runs unless they may overlap.
create function holdfast.event_trigger(p_event text, p_by text, p_payload jsonb) returns jsonb
language plpgsql volatile as $$
declare
  e holdfast.event;
  at_place text;
  moment timestamptz := date_trunc('milliseconds', holdfast.now());
  due_at timestamptz;
  made holdfast.occurrence;
  all_made jsonb := '[]';
begin
  select * into e from holdfast.event x where x.name = p_event and not x.retired;
  if not found then
    return jsonb_build_object('outcome', 'unknown');
  end if;
  perform holdfast.event_lock((select jsonb_agg(jsonb_build_object('event', c.event, 'place', c.place))
    from holdfast.event_cursor c where c.event = p_event));
  select * into e from holdfast.event x where x.name = p_event and not x.retired; -- it may have been retired meanwhile
  if not found then
    return jsonb_build_object('outcome', 'unknown');
  end if;
  for at_place in
    select c.place from holdfast.event_cursor c left join holdfast.member m on m.instance = c.place
    where c.event = p_event and case when e.definition -> 'on' ->> 'kind' = 'each'
      then m.state <> 'lost' and m.left_at is null else c.place = '' end
    order by c.place
  loop
    due_at := moment;
    loop
      insert into holdfast.occurrence as o
        (event, place, due, last_due, cause, state, not_before, held, reruns_left, asked_by, payload)
      values (p_event, at_place, due_at, due_at, 'manual', 'waiting', holdfast.now(),
        case when e.definition ->> 'overlap' <> 'allow' and exists (select from holdfast.occurrence x
          where x.event = p_event and x.place = at_place and x.state <> 'done'
            -- what waits while the event is paused may wait for long
            and not (e.paused_at is not null and x.state = 'waiting' and x.cause = 'schedule')) then 'predecessor' end,
        coalesce((e.definition -> 'lost' ->> 'reruns')::int, 0), p_by, p_payload)
      on conflict (event, place, due, cause) do nothing returning o.* into made;
      exit when found;
      due_at := due_at + interval '1 ms';
    end loop;
    all_made := all_made || jsonb_build_object('occurrence', made.id::text, 'place', at_place,
      'dueMs', holdfast.ms(made.due), 'held', made.held);
  end loop;
  perform pg_notify('holdfast_events', '');
  return jsonb_build_object('outcome', 'asked', 'occurrences', all_made);
end $$;

-- Pause and resume, with who and why. What is due meanwhile is recorded as skipped; what runs goes on.
create function holdfast.event_pause(p_event text, p_by text, p_reason text) returns jsonb language plpgsql volatile as $$
declare
  e holdfast.event;
begin
  update holdfast.event x set paused_at = holdfast.now(), paused_by = p_by, paused_reason = p_reason
  where x.name = p_event and not x.retired and x.paused_at is null returning x.* into e;
  if found then
    return jsonb_build_object('outcome', 'paused');
  end if;
  select * into e from holdfast.event x where x.name = p_event and not x.retired;
  return case when e.name is null then jsonb_build_object('outcome', 'unknown')
    else jsonb_build_object('outcome', 'unchanged', 'by', e.paused_by, 'reason', e.paused_reason) end;
end $$;

create function holdfast.event_resume(p_event text) returns jsonb language plpgsql volatile as $$
begin
  update holdfast.event x set paused_at = null, paused_by = null, paused_reason = null
  where x.name = p_event and not x.retired and x.paused_at is not null;
  if found then
    perform pg_notify('holdfast_events', '');
    return jsonb_build_object('outcome', 'resumed');
  end if;
  return jsonb_build_object('outcome',
    case when exists (select from holdfast.event x where x.name = p_event and not x.retired) then 'unchanged' else 'unknown' end);
end $$;

-- What waits for an instance that has been gone for so long will not be run there. Answers how many it was.
create function holdfast.event_abandon_places(p_gone_ms double precision) returns int language plpgsql volatile as $$
declare
  abandoned int;
begin
  perform holdfast.event_lock((select jsonb_agg(distinct jsonb_build_object('event', o.event, 'place', o.place))
    from holdfast.occurrence o where o.state = 'waiting' and o.place <> ''));
  update holdfast.occurrence o set state = 'done', outcome = 'abandoned', ended_at = holdfast.now(),
    reason = concat_ws('; ', o.reason, format('%s is gone', o.place))
  where o.state = 'waiting' and o.place <> '' and o.not_before < holdfast.now() - p_gone_ms * interval '1 ms'
    and not exists (select from holdfast.member m where m.instance = o.place and m.left_at is null and m.state <> 'lost')
    and not exists (select from holdfast.member m where m.instance = o.place
      and m.renewed_at > holdfast.now() - p_gone_ms * interval '1 ms');
  get diagnostics abandoned = row_count;
  return abandoned;
end $$;

-- Forgets what ended long ago; true while there is more.
create function holdfast.event_prune(p_keep_ms double precision, p_limit int) returns int language sql volatile as $$
  with old as (
    select o.id from holdfast.occurrence o
    where o.state = 'done' and o.ended_at < holdfast.now() - p_keep_ms * interval '1 ms'
    order by o.ended_at limit p_limit),
  deleted as (delete from holdfast.occurrence o using old where o.id = old.id returning 1)
  select count(*)::int from deleted
$$;

-- Alarms for one agent to deliver. Taking one puts it off, further each time, so that a delivery that is never
-- confirmed is tried again by whoever comes then: at least once.
create function holdfast.alarm_take(p_limit int) returns setof jsonb language sql volatile as $$
  with due as (
    select a.id from holdfast.alarm a where a.not_before <= holdfast.now()
    order by a.not_before limit p_limit for update skip locked),
  taken as (
    update holdfast.alarm a set tries = a.tries + 1,
      not_before = holdfast.now() + least(30 * power(2, a.tries), 3600) * interval '1 s'
    from due where a.id = due.id returning a.*)
  select jsonb_build_object('id', t.id::text, 'tries', t.tries, 'event', o.event, 'place', o.place,
    'dueMs', holdfast.ms(o.due), 'lastDueMs', holdfast.ms(o.last_due), 'dues', o.dues, 'cause', o.cause,
    'outcome', o.outcome, 'reason', o.reason, 'attempts', o.attempts, 'endedMs', holdfast.ms(o.ended_at),
    'instance', (select r.instance from holdfast.run r where r.occurrence = o.id order by r.attempt desc limit 1),
    'result', (select r.result from holdfast.run r where r.occurrence = o.id order by r.attempt desc limit 1))
  from taken t join holdfast.occurrence o on o.id = t.occurrence
$$;

-- Fences, taken in the same way; several agents may do one, so it must be repeatable.
create function holdfast.fence_take(p_retry_ms double precision) returns setof text language sql volatile as $$
  update holdfast.fence f set tries = f.tries + 1, not_before = holdfast.now() + p_retry_ms * interval '1 ms'
  where f.done_at is null and f.not_before <= holdfast.now() returning f.instance
$$;

-- The lost instance can do no more harm: what it worked on may go on elsewhere.
create function holdfast.fence_done(p_instance text) returns void language plpgsql volatile as $$
begin
  update holdfast.fence f set done_at = holdfast.now(), error = null where f.instance = p_instance and f.done_at is null;
  update holdfast.occurrence o set held = null, fence_of = null, not_before = holdfast.now()
  where o.state = 'waiting' and o.held = 'fence' and o.fence_of = p_instance;
  update holdfast.change set number = number + 1;
  perform pg_notify('holdfast_events', '');
end $$;
