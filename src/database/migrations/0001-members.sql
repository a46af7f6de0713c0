-- Members, leases, revisions and balancers: all that the cluster agrees on.
--
-- Time is holdfast.now(): the start of the statement, on the arbiter's clock. It is never later than the moment at
-- which a row lock was obtained, so every comparison errs towards "the lease still holds" and every grant towards
-- "a little shorter". A simulator replaces the two functions below and thereby owns time and failover.

create function holdfast.now() returns timestamptz language sql stable parallel safe as 'select now()';

-- The timeline of the primary: it rises with every promotion. The name of the WAL segment being written tells it
-- at once; pg_control_checkpoint() would tell it only after the first checkpoint that follows the promotion.
create function holdfast.timeline() returns int language sql stable as
$$ select ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int $$;

create sequence holdfast.grant_sequence;

-- A fencing token (P3): timeline in the high bits, sequence in the low 40, so that a promoted standby that lost the
-- tail of the sequence still grants higher ones.
create function holdfast.next_token() returns bigint language sql volatile as
$$ select (holdfast.timeline()::bigint << 40) | nextval('holdfast.grant_sequence') $$;

-- When each timeline was first noticed. What the last primary granted just before it died may be unknown to its
-- successor, and whoever was granted it may act on it until its ttl is over.
create table holdfast.timeline_start (
  timeline int primary key,
  since    timestamptz not null
);
insert into holdfast.timeline_start values (holdfast.timeline(), '-infinity');

-- One row: whose arbiter this is, and the key from which every balancer derives the same sticky cookies.
create table holdfast.cluster (
  only_row   boolean primary key default true check (only_row),
  name       text not null,
  sticky_key text not null
);

create table holdfast.revision (
  number     bigint generated always as identity primary key,
  document   jsonb not null,
  digest     text not null,
  author     text not null,
  message    text not null,
  created_at timestamptz not null default holdfast.now()
);

-- One row for each instance name. Renewals touch no indexed column and leave room on the page (HOT updates).
create table holdfast.member (
  instance       text primary key,
  incarnation    bigint not null,
  token          bigint not null,
  agent_id       text not null,
  state          text not null check (state in ('starting', 'up', 'draining', 'maintenance', 'down', 'lost')),
  -- What the agent says of itself and of its instance; the arbiter reads only what it is asked for.
  facts          jsonb not null,
  ttl_ms         int not null,
  lease_until    timestamptz not null,
  renewed_at     timestamptz not null,
  -- Since when this agent has heard the arbiter without a gap, on this timeline: what makes it a witness.
  unbroken_since timestamptz not null,
  timeline       int not null,
  maintenance    text[] not null default '{}',
  left_at        timestamptz,
  ended_because  text
) with (fillfactor = 50);

create table holdfast.lease (
  name         text primary key,
  holder       text not null references holdfast.member (instance) on delete cascade,
  member_token bigint not null,
  token        bigint not null,
  granted_at   timestamptz not null
);

create table holdfast.balancer (
  name       text primary key,
  facts      jsonb not null,
  seen_at    timestamptz not null
) with (fillfactor = 50);

-- How long after a failover a new grant must wait before it is acted upon: one ttl from its first statement, in
-- which everything that was granted in a lost tail has run out (P1, P4). Zero at all other times.
create function holdfast.grace_ms(p_ttl_ms int) returns int language plpgsql volatile as $$
declare
  longest interval;
  started timestamptz;
begin
  insert into holdfast.timeline_start values (holdfast.timeline(), holdfast.now()) on conflict do nothing;
  select since into started from holdfast.timeline_start where timeline = holdfast.timeline();
  select greatest(p_ttl_ms, max(m.ttl_ms)) * interval '1 ms' into longest from holdfast.member m;
  if started + longest <= holdfast.now() then
    return 0;
  end if;
  return ceil(extract(epoch from started + longest - holdfast.now()) * 1000);
end $$;

-- Join: takes a name, raises its incarnation, grants a token. Refused while another agent holds the name, unless
-- the caller names that agent among those it has proved dead, or the lease ran out and the caller has itself
-- watched that last renewal (p_watched) for one whole ttl without a gap: the newcomer's way of being a witness.
-- Without that, whoever came first after an outage of the arbiter would take the names of the living.
create function holdfast.member_join(
  p_instance text, p_agent_id text, p_proved_dead text[], p_watched timestamptz,
  p_ttl_ms int, p_state text, p_facts jsonb
) returns jsonb language plpgsql volatile as $$
declare
  held holdfast.member;
  moment timestamptz := holdfast.now();
begin
  insert into holdfast.member as m
    (instance, incarnation, token, agent_id, state, facts, ttl_ms, lease_until, renewed_at, unbroken_since, timeline)
  values (p_instance, 1, holdfast.next_token(), p_agent_id, p_state, p_facts, p_ttl_ms,
    moment + p_ttl_ms * interval '1 ms', moment, moment, holdfast.timeline())
  on conflict (instance) do update set
    incarnation = m.incarnation + 1, token = excluded.token, agent_id = excluded.agent_id,
    state = excluded.state, facts = excluded.facts, ttl_ms = excluded.ttl_ms,
    lease_until = excluded.lease_until, renewed_at = excluded.renewed_at,
    unbroken_since = excluded.unbroken_since, timeline = excluded.timeline, left_at = null, ended_because = null
  where m.left_at is not null or m.state = 'lost' or (m.lease_until < moment and m.renewed_at = p_watched)
    or m.agent_id = p_agent_id or m.agent_id = any (p_proved_dead)
  returning m.* into held;
  if found then
    perform pg_notify('holdfast_members', p_instance);
    return jsonb_build_object('outcome', 'joined', 'incarnation', held.incarnation,
      'token', held.token::text, 'timeline', held.timeline, 'graceMs', holdfast.grace_ms(p_ttl_ms));
  end if;
  select * into held from holdfast.member where instance = p_instance;
  return jsonb_build_object('outcome', 'held', 'facts', held.facts, 'incarnation', held.incarnation,
    'renewedAt', held.renewed_at::text, 'timeline', holdfast.timeline(),
    'remainingMs', extract(epoch from held.lease_until - moment) * 1000);
end $$;

-- The members whose lease ran out, as far as this one must look: along the ring of names, until it has passed eight
-- witnesses, who look on from there. So each silent member is seen by the eight witnesses before it, however many
-- others are silent in between, and a heartbeat costs the same among a thousand members as among ten.
create function holdfast.member_expired(p_instance text, p_moment timestamptz, p_timeline int) returns jsonb
language plpgsql volatile set enable_sort = off as $$ -- in the order of the primary key, even before the first ANALYZE
declare
  near record;
  place text := p_instance;
  wrapped boolean := false;
  seen int;
  witnesses int := 0;
  expired jsonb := '[]';
begin
  loop
    seen := 0;
    for near in
      select m.instance, m.token, m.lease_until, m.unbroken_since, m.ttl_ms, m.timeline from holdfast.member m
      where m.instance > place and m.state <> 'lost' and m.left_at is null order by m.instance limit 12
    loop
      seen := seen + 1;
      place := near.instance;
      if wrapped and place >= p_instance then
        return expired;
      elsif near.lease_until < p_moment then
        expired := expired || jsonb_build_object('instance', place, 'token', near.token::text);
      elsif near.timeline = p_timeline and p_moment - near.unbroken_since >= near.ttl_ms * interval '1 ms' then
        witnesses := witnesses + 1;
        if witnesses = 8 then
          return expired;
        end if;
      end if;
    end loop;
    if seen < 12 then
      if wrapped then
        return expired;
      end if;
      wrapped := true;
      place := '';
    end if;
  end loop;
end $$;

-- Heartbeat: renews where (instance, incarnation, token) still match, however late: whoever takes the row's lock
-- first wins. Null facts or state mean "as before". Brings back all that the agent must know, and, to a witness
-- only, the members whose leases ran out.
--
-- A witness has heard the arbiter for one whole ttl without a gap longer than half a ttl, on one timeline. An
-- arbiter that restarted, froze, failed over or was cut off from everybody thereby finds no witness for one ttl,
-- in which every living member renews: nobody is declared lost because the *arbiter* was away.
create function holdfast.member_heartbeat(
  p_instance text, p_incarnation bigint, p_token bigint, p_ttl_ms int, p_state text, p_facts jsonb
) returns jsonb language plpgsql volatile as $$
declare
  renewed holdfast.member;
  moment timestamptz := holdfast.now();
  current_timeline int := holdfast.timeline();
  changed boolean := p_facts is not null;
begin
  if p_state is not null and not changed then
    select m.state <> p_state into changed from holdfast.member m where m.instance = p_instance;
  end if;
  update holdfast.member m set
    lease_until = greatest(m.lease_until, moment + p_ttl_ms * interval '1 ms'),
    renewed_at = greatest(m.renewed_at, moment),
    ttl_ms = p_ttl_ms,
    unbroken_since = case
      when m.timeline = current_timeline and moment - m.renewed_at <= p_ttl_ms * interval '0.5 ms'
      then m.unbroken_since else moment end,
    timeline = current_timeline,
    state = coalesce(p_state, m.state),
    facts = coalesce(p_facts, m.facts)
  where m.instance = p_instance and m.incarnation = p_incarnation and m.token = p_token
    and m.state <> 'lost' and m.left_at is null
  returning m.* into renewed;
  if not found then
    return jsonb_build_object('outcome', 'fenced', 'because',
      coalesce((select coalesce(m.ended_because, 'taken over by another agent')
        from holdfast.member m where m.instance = p_instance), 'unknown to the arbiter'));
  end if;
  if renewed.unbroken_since = moment then -- the first one after a gap, perhaps on a new timeline
    insert into holdfast.timeline_start values (current_timeline, moment) on conflict do nothing;
  end if;
  if changed then
    perform pg_notify('holdfast_members', p_instance);
  end if;
  return jsonb_build_object('outcome', 'renewed', 'timeline', current_timeline,
    'maintenance', to_jsonb(renewed.maintenance),
    'revision', (select max(number) from holdfast.revision),
    'expired', case when moment - renewed.unbroken_since >= p_ttl_ms * interval '1 ms'
      then holdfast.member_expired(p_instance, moment, current_timeline) else '[]' end);
end $$;

-- Declare lost: by a witness that still holds its own lease, for a lease that ran out. Raises the incarnation and
-- the token, which is what fences. The conditions are checked again after the row's lock is obtained, so a
-- heartbeat that came first wins.
create function holdfast.member_declare_lost(
  p_witness text, p_witness_token bigint, p_instance text, p_token bigint
) returns boolean language plpgsql volatile as $$
declare
  moment timestamptz := holdfast.now();
begin
  update holdfast.member m set
    state = 'lost', incarnation = m.incarnation + 1, token = holdfast.next_token(),
    ended_because = format('declared lost by %s: no heartbeat since %s', p_witness, m.renewed_at)
  where m.instance = p_instance and m.token = p_token and m.lease_until < moment
    and m.state <> 'lost' and m.left_at is null
    and exists (select from holdfast.member w
      where w.instance = p_witness and w.token = p_witness_token and w.lease_until >= moment
        and w.state <> 'lost' and w.left_at is null and w.timeline = holdfast.timeline()
        and moment - w.unbroken_since >= w.ttl_ms * interval '1 ms');
  if found then
    perform pg_notify('holdfast_members', p_instance);
  end if;
  return found;
end $$;

-- Leave: gives the name back at once. A fenced agent changes nothing.
create function holdfast.member_leave(p_instance text, p_incarnation bigint, p_token bigint) returns boolean
language plpgsql volatile as $$
begin
  update holdfast.member set left_at = holdfast.now(), lease_until = holdfast.now(), state = 'down',
    ended_because = 'left'
  where instance = p_instance and incarnation = p_incarnation and token = p_token and left_at is null;
  if found then
    perform pg_notify('holdfast_members', p_instance);
  end if;
  return found;
end $$;

-- A named lease has no clock of its own: it is held for as long as its holder's membership is, so one heartbeat
-- renews them all, and a member that was declared lost, taken over or has left holds nothing.
--
-- Whoever asks again gets a new token: a release that was sent before, and comes late, must not end what was
-- granted after it. For one ttl after a failover nothing is granted: who was granted it last may be unknown here.
create function holdfast.lease_acquire(p_name text, p_instance text, p_member_token bigint)
returns table (outcome text, holder text, token bigint) language plpgsql volatile as $$
declare
  held holdfast.lease;
  grace boolean := holdfast.grace_ms(0) > 0;
begin
  if not exists (select from holdfast.member m
      where m.instance = p_instance and m.token = p_member_token and m.lease_until >= holdfast.now()
        and m.state <> 'lost' and m.left_at is null) then
    return query select 'fenced', null, null::bigint;
    return;
  end if;
  loop
    -- First the row's lock, then the question whether its holder lives: in one statement the answer would be as old
    -- as the statement's snapshot, and could miss a holder that joined since.
    select * into held from holdfast.lease l where l.name = p_name for update;
    if grace then
      return query select 'held', coalesce(held.holder, ''), null::bigint;
      return;
    elsif held.name is null then
      insert into holdfast.lease as l values (p_name, p_instance, p_member_token, holdfast.next_token(), holdfast.now())
      on conflict (name) do nothing returning l.* into held;
    elsif (held.holder = p_instance and held.member_token = p_member_token)
        or not exists (select from holdfast.member m
          where m.instance = held.holder and m.token = held.member_token and m.state <> 'lost' and m.left_at is null) then
      update holdfast.lease as l set holder = p_instance, member_token = p_member_token,
        token = holdfast.next_token(), granted_at = holdfast.now()
      where l.name = p_name returning l.* into held;
    else
      return query select 'held', held.holder, null::bigint;
      return;
    end if;
    if held.name is not null then
      return query select 'granted', held.holder, held.token;
      return;
    end if;
  end loop;
end $$;

create function holdfast.lease_release(p_name text, p_token bigint) returns boolean language plpgsql volatile as $$
begin
  delete from holdfast.lease where name = p_name and token = p_token;
  return found;
end $$;
