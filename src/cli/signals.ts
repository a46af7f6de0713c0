/** Ctrl-C and `kill`, as a part of Holdfast understands them. */
export interface StopSignals {
  /** SIGTERM: stop with a drain. SIGINT or SIGHUP, or a second signal: stop without. */
  onStop(handler: (how: { readonly drain: boolean }) => void): void;
  dispose(): void;
}

export function stopSignals(): StopSignals {
  let handler: (how: { drain: boolean }) => void = () => undefined;
  let asked = 0;
  const listeners = (['SIGTERM', 'SIGINT', 'SIGHUP'] as const).map((signal) => {
    const listener = () => handler({ drain: signal === 'SIGTERM' && ++asked === 1 });
    process.on(signal, listener);
    return [signal, listener] as const;
  });
  return {
    onStop: (wanted) => {
      handler = wanted;
    },
    dispose() {
      for (const [signal, listener] of listeners) process.off(signal, listener);
    },
  };
}
