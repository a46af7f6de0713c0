/** What the exit code of a runtime's JVM means, and whether starting it again can help. */
import type { ExitReason } from '../platform.ts';

interface Ports {
  readonly adminPort: number;
  readonly runtimePort: number;
}

export function explainedExit(
  exit: ExitReason,
  { adminPort, runtimePort }: Ports,
  version: string,
): ExitReason {
  const explain = (meaning: string, remedy?: string): ExitReason => ({
    ...exit,
    description: `exited with code ${exit.code} (${meaning})`,
    ...(remedy === undefined ? {} : { remedy }),
  });
  switch (exit.code) {
    case 0:
      return explain('the runtime ended by itself');
    case 1:
      return explain('the runtime failed for a reason that only its log tells');
    case 2:
      return explain(`its admin port ${adminPort} is in use`);
    case 3:
      return explain(`its port ${runtimePort} is in use`);
    case 4:
      return explain(
        `this Java is not one that Mendix ${version} runs on`,
        'Name the right one as `app.mendix.java`, with its full path.',
      );
    case 126:
    case 127:
      return explain(
        'Java was not found',
        'Name it as `app.mendix.java`, with its full path: the runtime gets no PATH unless it is given one.',
      );
    default:
      return exit;
  }
}
