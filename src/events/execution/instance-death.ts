/**
 * Who is to be told when the instance dies. A promise cannot be left: each run that waited for the same death would
 * be remembered until it comes, which may be months and millions of runs away. So there is one wait for each death,
 * and the runs that it concerns come and go.
 */

interface DeathWatch {
  readonly listeners: Set<() => void>;
  isWaiting: boolean;
}

/** By the function that tells of the death; it stands for the instance. */
const watches = new WeakMap<() => Promise<void>, DeathWatch>();

/** `listener` is called once, when the instance's present process has ended. Call what is returned to leave. */
export function onInstanceDeath(instanceDied: () => Promise<void>, listener: () => void): () => void {
  const watch = watches.get(instanceDied) ?? { listeners: new Set(), isWaiting: false };
  watches.set(instanceDied, watch);
  const own = (): void => listener(); // the same listener may come twice
  watch.listeners.add(own);
  if (!watch.isWaiting) {
    watch.isWaiting = true;
    void instanceDied().then(() => {
      watch.isWaiting = false;
      const told = [...watch.listeners];
      watch.listeners.clear();
      for (const tell of told) tell();
    });
  }
  return () => void watch.listeners.delete(own);
}
