/**
 * The embedded engine in a process of its own, so that its core and its cost are its own. Forked with the options
 * and the routing table as argument; answers each message with its status.
 */
import { type EngineOptions, startEmbeddedEngine } from '../../src/balancer/index.ts';
import type { RoutingTable } from '../../src/protocol/routing-table.ts';

export interface EngineArguments {
  readonly options: EngineOptions;
  readonly table: RoutingTable;
}

const { options, table } = JSON.parse(process.argv[2] ?? '{}') as EngineArguments;
const engine = await startEmbeddedEngine(options);
engine.apply(table);
process.on('message', () => process.send?.(engine.status()));
process.once('disconnect', () => process.exit());
