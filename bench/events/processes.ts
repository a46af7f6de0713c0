/** Processes that are asked questions and answer them: three of a kind for each measurement. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';

export interface Group {
  readonly pids: readonly number[];
  /** Asks all of them at once. */
  ask<Answer>(question: string, argument?: (index: number) => unknown): Promise<Answer[]>;
  /** Asks the first one. */
  askOne<Answer>(question: string, argument?: unknown): Promise<Answer>;
  /** Resolves when they have ended. */
  end(): Promise<void>;
}

interface Exchange {
  resolve(answer: unknown): void;
  reject(error: Error): void;
}

export const membersOfGroup = 3;

const endWithinMs = 3_000;

export function startGroup(program: 'holdfast-agent.ts' | 'peer-worker.ts'): Group {
  const members = Array.from({ length: membersOfGroup }, () => startOne(program));
  return {
    pids: members.map(({ child }) => child.pid ?? 0),
    ask: <Answer>(question: string, argument: (index: number) => unknown = () => undefined) =>
      Promise.all(members.map((one, index) => one.ask(question, argument(index)) as Promise<Answer>)),
    askOne: <Answer>(question: string, argument?: unknown) =>
      members[0]?.ask(question, argument) as Promise<Answer>,
    async end() {
      await Promise.all(members.map((one) => one.end()));
    },
  };
}

function startOne(program: string) {
  const child: ChildProcess = fork(new URL(program, import.meta.url), [], { serialization: 'advanced' });
  const exited = once(child, 'exit');
  const open = new Map<number, Exchange>();
  let asked = 0;
  child.on('message', ({ id, answer, error }: { id: number; answer: unknown; error?: string }) => {
    const exchange = open.get(id);
    open.delete(id);
    if (error === undefined) exchange?.resolve(answer);
    else exchange?.reject(new Error(error));
  });
  void exited.then(() => {
    for (const { reject } of open.values()) reject(new Error(`${program} ended unexpectedly`));
  });
  return {
    child,
    ask: (question: string, argument: unknown) =>
      new Promise<unknown>((resolve, reject) => {
        const id = asked++;
        open.set(id, { resolve, reject });
        child.send({ id, question, argument });
      }),
    async end() {
      if (child.connected) child.disconnect(); // it exits then
      const late = new AbortController();
      void delay(endWithinMs, undefined, { signal: late.signal }).then(
        () => child.kill('SIGKILL'),
        () => undefined, // it ended in time
      );
      await exited;
      late.abort();
    },
  };
}

/** In such a process: answers each question with the function of its name. */
export function answerQuestions(answers: Record<string, (argument: never) => unknown>): void {
  process.on(
    'message',
    async ({ id, question, argument }: { id: number; question: string; argument: never }) => {
      try {
        process.send?.({ id, answer: await answers[question]?.(argument) });
      } catch (error) {
        process.send?.({
          id,
          error: error instanceof Error ? (error.stack ?? error.message) : String(error),
        });
      }
    },
  );
  process.once('disconnect', () => process.exit());
}
