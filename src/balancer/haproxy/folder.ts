import { chmod, mkdir } from 'node:fs/promises';
import type { EngineOptions } from '../engine.ts';
import { loadPages } from '../pages.ts';
import { writeCertificates } from './certificates.ts';
import { renderHaproxyConfig } from './config.ts';
import { connectionLua } from './connection-lua.ts';
import { checkFolder, filesIn, type HaproxyPlace, type PlaceFiles } from './place.ts';
import { pagesMap } from './refusal-pages.ts';
import { emptyState, type MapName, mapNames, type RuntimeState } from './wanted-state.ts';
import { writeWhole } from './whole-file.ts';

/** Writes everything that the configuration refers to, and the configuration. Resolves with its text. */
export async function prepareHaproxyFolder(
  options: EngineOptions,
  where: HaproxyPlace,
  last: RuntimeState = emptyState,
): Promise<string> {
  checkFolder(where.folder);
  const files = filesIn(where.folder);
  await mkdir(where.folder, { recursive: true, mode: 0o700 });
  await chmod(where.folder, 0o700);
  await writeWhole(files.pages, pagesMap(await loadPages(options.pages ?? {})));
  await writeWhole(files.lua, connectionLua);
  if (options.tls) await writeCertificates(options.tls, where.folder);
  return writeState(options, where, last);
}

/**
 * Writes the configuration with these instances, and the maps: so whoever starts this HAProxy again, and be it without
 * us, starts it with the last table.
 */
export async function writeState(
  options: EngineOptions,
  where: HaproxyPlace,
  last: RuntimeState,
): Promise<string> {
  const files = filesIn(where.folder);
  for (const map of mapNames) {
    await writeWhole(files[map], [...last.maps[map]].map(([key, value]) => `${key} ${value}\n`).join(''));
  }
  const config = renderHaproxyConfig(options, where, last);
  await writeWhole(files.config, config);
  return config;
}

/** The maps that this configuration refers to: HAProxy knows no others. */
export const mapsIn = (config: string, files: PlaceFiles): readonly MapName[] =>
  mapNames.filter((name) => config.includes(`(${files[name]})`));
