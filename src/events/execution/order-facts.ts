/** What the work is told of its run: once as headers of a request, once as the environment of a command. */
import type { AppointmentChange } from '../appointments.ts';
import type { RunOrder } from './execution.ts';

/** The same for every attempt of an occurrence, and for no other: one may be asked for at the moment another is due. */
export function idempotencyKey({ event, place, dueMs, cause }: RunOrder): string {
  return `${event}/${place === '' ? '-' : place}/${isoTime(dueMs)}${cause === 'manual' ? '/manual' : ''}`;
}

export function headersOf(
  order: RunOrder,
  proofMs: number,
  appointment?: AppointmentChange,
): Record<string, string> {
  return {
    'holdfast-event': order.event,
    'holdfast-due': isoTime(order.dueMs),
    'holdfast-attempt': String(order.attempt),
    'holdfast-token': String(order.token),
    'holdfast-cause': order.cause,
    'holdfast-timeout-ms': String(order.timeoutMs),
    'holdfast-lease-ms': String(Math.max(0, Math.floor(proofMs))),
    'idempotency-key': idempotencyKey(order),
    ...(order.place === '' ? {} : { 'holdfast-place': order.place }),
    ...(appointment === undefined ? {} : { 'holdfast-appointment': appointment }),
  };
}

export function environmentOf(order: RunOrder, appointment?: AppointmentChange): Record<string, string> {
  return {
    HOLDFAST_EVENT: order.event,
    HOLDFAST_DUE: isoTime(order.dueMs),
    HOLDFAST_ATTEMPT: String(order.attempt),
    HOLDFAST_TOKEN: String(order.token),
    HOLDFAST_CAUSE: order.cause,
    HOLDFAST_PLACE: order.place,
    HOLDFAST_TIMEOUT_MS: String(order.timeoutMs),
    HOLDFAST_IDEMPOTENCY_KEY: idempotencyKey(order),
    ...(order.payload === null ? {} : { HOLDFAST_PAYLOAD: JSON.stringify(order.payload) }),
    ...(appointment === undefined ? {} : { HOLDFAST_APPOINTMENT: appointment }),
  };
}

const isoTime = (ms: number): string => new Date(ms).toISOString();
