-- Idempotency keys: a request that must not be carried out twice is claimed here before it is sent to an instance.
--
-- A row is a promise of one execution at most. It is `running` from the claim on, then `done` with the response that
-- every repetition gets, or `unknown` when the instance that worked on it was lost. A balancer that died says
-- nothing more, so `running` holds only until `lease_until`; a repetition after that is told `unknown`, which frees
-- nothing: the key is not granted again before `expires_at`. What comes late under the right token still counts.
--
-- Keys are stored as their SHA-256: they are chosen by clients, and some put into them what is nobody's business.
-- A token is known only to the balancer whose claim was granted.

create table holdfast.idempotency (
  key_hash    bytea primary key,
  fingerprint bytea not null,
  token       bytea not null,
  state       text not null check (state in ('running', 'done', 'unknown')),
  -- Which balancer made the claim; for people who look.
  balancer    text not null,
  claimed_at  timestamptz not null,
  lease_until timestamptz not null,
  -- Set once, so that finishing touches no index: the end of the lease and the time to keep.
  expires_at  timestamptz not null,
  status      smallint,
  headers     text[],
  body        bytea,
  check ((state = 'done') = (status is not null and headers is not null and body is not null))
) with (fillfactor = 70);

create index idempotency_by_expiry on holdfast.idempotency (expires_at);

-- Granted to exactly one of any number that ask at once: the primary key decides, and whoever finds a row is told
-- what it says. A row that ran out is overwritten, whether it was pruned or not. The loop is for a row that is
-- released or pruned between the two looks.
create function holdfast.idempotency_claim(
  p_key_hash bytea, p_fingerprint bytea, p_token bytea, p_balancer text,
  p_lease_ms double precision, p_keep_ms double precision)
returns table (outcome text, status smallint, headers text[], body bytea)
language plpgsql volatile as $$
declare
  moment timestamptz := holdfast.now();
  held holdfast.idempotency;
begin
  loop
    insert into holdfast.idempotency as i
      (key_hash, fingerprint, token, state, balancer, claimed_at, lease_until, expires_at)
    values (p_key_hash, p_fingerprint, p_token, 'running', p_balancer, moment,
      moment + p_lease_ms * interval '1 ms', moment + (p_lease_ms + p_keep_ms) * interval '1 ms')
    on conflict (key_hash) do update set
      fingerprint = excluded.fingerprint, token = excluded.token, state = excluded.state,
      balancer = excluded.balancer, claimed_at = excluded.claimed_at, lease_until = excluded.lease_until,
      expires_at = excluded.expires_at, status = null, headers = null, body = null
    where i.expires_at <= moment;
    if found then
      return query select 'granted', null::smallint, null::text[], null::bytea;
      return;
    end if;
    select * into held from holdfast.idempotency i where i.key_hash = p_key_hash;
    if found then
      return query select
        case
          when held.fingerprint <> p_fingerprint then 'mismatch'
          when held.state = 'running' and held.lease_until < moment then 'unknown'
          else held.state
        end,
        case when held.fingerprint = p_fingerprint then held.status end,
        case when held.fingerprint = p_fingerprint then held.headers end,
        case when held.fingerprint = p_fingerprint then held.body end;
      return;
    end if;
  end loop;
end $$;

-- Rows that ran out, oldest first, a few at a time. One that is being claimed anew is left to its claimant.
create function holdfast.idempotency_prune(p_limit int) returns int
language sql volatile as $$
  with old as (
    select i.key_hash from holdfast.idempotency i
    where i.expires_at <= holdfast.now()
    order by i.expires_at limit p_limit for update skip locked),
  deleted as (delete from holdfast.idempotency i using old where i.key_hash = old.key_hash returning 1)
  select count(*)::int from deleted
$$;
