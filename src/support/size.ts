/**
 * Sizes as people write them, always with a unit: `512B`, `16KB`, `10MB`, `1GB`. In code they are bytes. A unit is
 * 1024 of the one before it, as everywhere where buffers and limits are configured.
 */
const unitBytes = { B: 1, KB: 1_024, MB: 1_048_576, GB: 1_073_741_824, TB: 1_099_511_627_776 } as const;

export const sizePattern = /^(\d{1,16}(?:\.\d{1,6})?)\s*(B|KB|MB|GB|TB)$/;

/** Bytes, or undefined where the text is no size. A bare number is none: its unit would be a guess. */
export function parseSize(text: string): number | undefined {
  const match = sizePattern.exec(text.trim());
  if (!match) return undefined;
  return Math.round(Number(match[1]) * unitBytes[match[2] as keyof typeof unitBytes]);
}

/** The shortest exact form with one unit: 65536 is `64KB`, 1500 is `1500B`. */
export function formatSize(bytes: number): string {
  for (const unit of ['TB', 'GB', 'MB', 'KB'] as const) {
    if (bytes >= unitBytes[unit] && bytes % unitBytes[unit] === 0) return `${bytes / unitBytes[unit]}${unit}`;
  }
  return `${bytes}B`;
}
