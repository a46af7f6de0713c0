/** What the kernel says about a process and its children: memory, descriptors. And the slope of a series. */
import { readdirSync, readFileSync } from 'node:fs';

/** The process and its living children. */
export function processTree(pid: number): number[] {
  const children = readdirSync(`/proc/${pid}/task`).flatMap((thread) =>
    readFileSync(`/proc/${pid}/task/${thread}/children`, 'utf8').split(' ').filter(Boolean).map(Number),
  );
  return [pid, ...children.flatMap(processTree)];
}

/** Resident memory of a process and its children together. */
export const residentBytes = (pid: number): number =>
  processTree(pid).reduce((sum, one) => {
    const kilobytes = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${one}/status`, 'utf8'))?.[1];
    return sum + Number(kilobytes) * 1_024;
  }, 0);

/** Open files and sockets of a process and its children together. */
export const descriptors = (pid: number): number =>
  processTree(pid).reduce((sum, one) => sum + readdirSync(`/proc/${one}/fd`).length, 0);

export interface Point {
  readonly x: number;
  readonly y: number;
}

/** By least squares; 0 of fewer than two points. */
export function slope(points: readonly Point[]): number {
  const mean = (of: (point: Point) => number) =>
    points.reduce((sum, one) => sum + of(one), 0) / points.length;
  const [meanX, meanY] = [mean(({ x }) => x), mean(({ y }) => y)];
  const above = points.reduce((sum, { x, y }) => sum + (x - meanX) * (y - meanY), 0);
  const below = points.reduce((sum, { x }) => sum + (x - meanX) ** 2, 0);
  return below === 0 ? 0 : above / below;
}

export const megabytes = (bytes: number): number => bytes / 2 ** 20;
