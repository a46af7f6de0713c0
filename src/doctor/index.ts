/** `holdfast/doctor`: the probe, by which an application tells the doctor what only it can know. */
export { type ExpressProbe, type FastifyProbe, openProbe, type Probe } from './probe/open-probe.ts';
export type { ProbeFiles, ProbeOptions } from './probe/probe-options.ts';
