/** One worker of a peer as a process. */
import type { StartSample } from './holdfast-agent.ts';
import { type OpenPeer, openPeer, type PeerSettings } from './peers.ts';
import { answerQuestions } from './processes.ts';
import { wallMs } from './wall-clock.ts';

export interface PeerOrder {
  readonly url: string;
  readonly settings: PeerSettings;
}

const minuteMs = 60_000;
const samples: StartSample[] = [];
let peer: OpenPeer | undefined;

answerQuestions({
  async start({ settings, url }: PeerOrder) {
    peer = await openPeer(settings, url, (dueMs) => {
      const startedMs = wallMs();
      samples.push({ dueMs: dueMs ?? startedMs - (startedMs % minuteMs), startedMs });
    });
  },
  schedule: (duesMs: number[]) => peer?.schedule(duesMs),
  started: () => samples.length,
  samples: () => samples,
});
