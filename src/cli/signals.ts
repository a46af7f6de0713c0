/** Ctrl-C and `kill`, as a part of Holdfast understands them. */
export interface StopSignals {
  /** SIGTERM: stop with a drain. SIGINT or SIGHUP, or a second signal: stop without. */
  onStop(handler: (how: { readonly drain: boolean }) => void): void;
  dispose(): void;
}

/** `heard`: SIGHUP means something else to some. */
export function stopSignals(heard: readonly NodeJS.Signals[] = ['SIGTERM', 'SIGINT', 'SIGHUP']): StopSignals {
  let handler: (how: { drain: boolean }) => void = () => undefined;
  let asked = 0;
  const listeners = heard.map((signal) => {
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
