/** Faults that wait for their moment: something is kept from arriving, or follows at once when it has been executed. */
import type { Caller, Execution } from './arbiter.ts';

interface Hold {
  readonly agentId: string;
  readonly call: string;
  readonly released: Promise<void>;
  onSent(): void;
}

export class Interventions {
  readonly #awaited: { readonly agentId: string; readonly call: string; readonly run: () => void }[] = [];
  readonly #holds: Hold[] = [];

  /** Once, when a call of this agent has been executed. */
  afterNext(agentId: string, call: string, run: () => void): void {
    this.#awaited.push({ agentId, call, run });
  }

  /** Keeps the next such call of this agent from arriving, until what this answers is called. */
  holdNext(agentId: string, call: string, onSent: () => void): () => void {
    const { promise: released, resolve } = Promise.withResolvers<void>();
    this.#holds.push({ agentId, call, onSent, released });
    return resolve;
  }

  held({ agentId }: Caller, text: string): Promise<void> | undefined {
    const index = this.#holds.findIndex((one) => one.agentId === agentId && text.includes(one.call));
    const [hold] = index < 0 ? [] : this.#holds.splice(index, 1);
    hold?.onSent();
    return hold?.released;
  }

  executed({ caller, text }: Execution): void {
    const index = this.#awaited.findIndex(
      ({ agentId, call }) => agentId === caller.agentId && text.includes(call),
    );
    for (const { run } of index < 0 ? [] : this.#awaited.splice(index, 1)) run();
  }
}
