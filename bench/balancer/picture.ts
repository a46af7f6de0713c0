/**
 * Latency over time as a picture. At each moment, of all GETs that are under way, the slowest and the median: where
 * everybody waits, the line stays up for as long as they do, although no request begins or ends there. What happened
 * several times is laid over one another, with the misfortune at 0. Failures are those of POST as well.
 */
import { type Answered, isFailed } from './kill-users.ts';

const binMs = 50;
const fromMs = -1_000;
/** The end of the picture, counted from the misfortune. */
export const toMs = 8_000;
const bins = (toMs - fromMs) / binMs;

export class Timeline {
  readonly #latenciesMs: number[][] = Array.from({ length: bins }, () => []);
  readonly #failed = new Uint32Array(bins);

  add(answered: readonly Answered[], atMs: number): void {
    for (const one of answered) {
      const first = Math.max(0, Math.floor((one.startMs - atMs - fromMs) / binMs));
      const last = Math.floor((one.endMs - atMs - fromMs) / binMs);
      if (one.kind === 'GET')
        for (let bin = first; bin <= Math.min(last, bins - 1); bin++)
          this.#latenciesMs[bin]?.push(one.endMs - one.startMs);
      if (isFailed(one) && last >= 0 && last < bins) this.#failed[last] = (this.#failed[last] ?? 0) + 1;
    }
  }

  /** One for each bin; undefined: no request was under way. */
  get slowestMs(): (number | undefined)[] {
    return this.#latenciesMs.map(
      (latencies) => latencies.reduce((most, one) => Math.max(most, one), 0) || undefined,
    );
  }

  get medianMs(): (number | undefined)[] {
    return this.#latenciesMs.map(
      (latencies) => latencies.sort((one, other) => one - other)[Math.floor(latencies.length / 2)],
    );
  }

  get failed(): readonly number[] {
    return [...this.#failed];
  }
}

export interface Panel {
  readonly title: string;
  /** To the right of the title. */
  readonly note: string;
  readonly timeline: Timeline;
  /** When the instance came back. */
  readonly backMs: number;
}

export interface Column {
  readonly title: string;
  /** What the axis of time counts from. */
  readonly since: string;
  readonly panels: readonly Panel[];
}

const panel = { width: 400, height: 104, gapX: 56, gapY: 44 };
const margin = { left: 56, top: 70, right: 16, bottom: 48 };
const lowestMs = 5;
const highestMs = 10_000;

const x = (ms: number): number => ((ms - fromMs) / (toMs - fromMs)) * panel.width;
function y(ms: number): number {
  const within = Math.min(highestMs, Math.max(lowestMs, ms));
  return panel.height * (1 - Math.log(within / lowestMs) / Math.log(highestMs / lowestMs));
}
const fixed = (value: number): string => value.toFixed(1);

const escaped = (text: string): string => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');

/** A line through the bins, interrupted where there is nothing. */
function path(values: readonly (number | undefined)[]): string {
  let isDrawing = false;
  return values
    .map((value, bin) => {
      const move = isDrawing ? 'L' : 'M';
      isDrawing = value !== undefined;
      return value === undefined ? '' : `${move}${fixed(x(fromMs + (bin + 0.5) * binMs))} ${fixed(y(value))}`;
    })
    .join('');
}

function drawPanel({ title, note, timeline, backMs }: Panel, isLast: boolean): string {
  const { width, height } = panel;
  const levels = [
    [10, '10 ms'],
    [100, '100 ms'],
    [1_000, '1 s'],
    [10_000, '10 s'],
  ] as const;
  const seconds = Array.from({ length: Math.floor(toMs / 1_000) + 2 }, (_, index) => index - 1);
  const failures = timeline.failed.flatMap((count, bin) =>
    count === 0
      ? []
      : [`<rect class="failed" x="${fixed(x(fromMs + bin * binMs))}" y="-5" width="3" height="10"/>`],
  );
  return [
    `<text class="title" x="0" y="-12">${escaped(title)}</text>`,
    `<text class="note" x="${width}" y="-12" text-anchor="end">${escaped(note)}</text>`,
    ...levels.map(
      ([ms, text]) =>
        `<path class="grid" d="M0 ${fixed(y(ms))}H${width}"/>` +
        `<text class="axis" x="-8" y="${fixed(y(ms) + 4)}" text-anchor="end">${text}</text>`,
    ),
    ...seconds.map((second) => {
      const at = fixed(x(second * 1_000));
      const label = `<text class="axis" x="${at}" y="${height + 17}" text-anchor="middle">${second}</text>`;
      return `<path class="grid" d="M${at} ${height}v4"/>${isLast ? label : ''}`;
    }),
    `<path class="frame" d="M0 ${height}H${width}"/>`,
    `<path class="moment" d="M${fixed(x(0))} 0V${height}M${fixed(x(backMs))} 0V${height}"/>`,
    `<path class="median" d="${path(timeline.medianMs)}"/>`,
    `<path class="slowest" d="${path(timeline.slowestMs)}"/>`,
    ...failures,
  ].join('\n');
}

/** Colours for light and for dark surroundings; each is readable on its own background. */
const style = `
  text { font: 12px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #1f2328 }
  .paper { fill: #ffffff }
  .heading { font-size: 14px; font-weight: 600 }
  .title { font-weight: 600 }
  .note, .axis { fill: #59636e }
  .axis, .note { font-size: 11px }
  .grid { stroke: #d1d9e0; fill: none }
  .frame { stroke: #818b98; fill: none }
  .moment { stroke: #818b98; stroke-dasharray: 3 3; fill: none }
  .median { stroke: #8c959f; stroke-width: 1.5; fill: none }
  .slowest { stroke: #0969da; stroke-width: 1.5; fill: none; stroke-linejoin: round }
  .failed { fill: #cf222e }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc }
    .paper { fill: #0d1117 }
    .note, .axis { fill: #9198a1 }
    .grid { stroke: #2a313c }
    .frame, .moment { stroke: #656c76 }
    .median { stroke: #7d8590 }
    .slowest { stroke: #4493f8 }
    .failed { fill: #f85149 }
  }`;

function legend(): string {
  const entries = [
    ['<path class="slowest" d="M0 -4h18"/>', 'slowest GET under way', 180],
    ['<path class="median" d="M0 -4h18"/>', 'median', 90],
    ['<rect class="failed" x="8" y="-9" width="3" height="10"/>', 'failed requests', 130],
    ['<path class="moment" d="M9 -10v12"/>', 'gone, and back', 0],
  ] as const;
  let at = 0;
  return entries
    .map(([sign, text, width]) => {
      const drawn = `<g transform="translate(${at} 0)">${sign}<text class="note" x="24" y="0">${text}</text></g>`;
      at += width;
      return drawn;
    })
    .join('\n');
}

/** The panels of a column one below the other, all with the same axes. */
export function drawPicture(columns: readonly Column[], description: string): string {
  const rows = Math.max(...columns.map(({ panels }) => panels.length));
  const stepX = panel.width + panel.gapX;
  const stepY = panel.height + panel.gapY;
  const width = margin.left + columns.length * stepX - panel.gapX + margin.right;
  const height = margin.top + rows * stepY - panel.gapY + margin.bottom + 30;
  const drawn = columns.map(({ title, since, panels }, column) => {
    const left = margin.left + column * stepX;
    const all = panels.map(
      (one, row) =>
        `<g transform="translate(${left} ${margin.top + row * stepY})">\n` +
        `${drawPanel(one, row === panels.length - 1)}\n</g>`,
    );
    const axis =
      `<text class="axis" x="${left + panel.width / 2}" y="${height - 46}" text-anchor="middle">` +
      `seconds since ${escaped(since)}</text>`;
    return `<text class="heading" x="${left}" y="30">${escaped(title)}</text>\n${all.join('\n')}\n${axis}`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img">
<title>Latency while an instance is away</title>
<desc>${escaped(description)}</desc>
<style>${style}
</style>
<rect class="paper" width="${width}" height="${height}"/>
${drawn.join('\n')}
<g transform="translate(${margin.left} ${height - 16})">
${legend()}
</g>
</svg>
`;
}
