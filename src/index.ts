/** `holdfast`: the errors that every part may report. The parts have entries of their own. */
export { type ErrorCode, errorCodes, HoldfastError } from './support/errors.ts';
export type { Log } from './support/log.ts';
export { silentLog } from './support/log.ts';
