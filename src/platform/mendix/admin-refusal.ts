/**
 * What a runtime means when it answers an action with another result than 0, in words that say what to do. The codes
 * are the runtime's; the same number means different things after different actions.
 */
import { HoldfastError } from '../../support/errors.ts';

export interface RefusalFacts {
  readonly action: string;
  readonly result: number;
  /** The runtime's own words; empty where it gave none. */
  readonly message: string;
  readonly cause: string;
  readonly feedback: unknown;
}

interface Meaning {
  readonly meaning: string;
  readonly remedy: string;
  /** True: the next start would be refused in the same way. Somebody must change something first. */
  readonly isLasting: boolean;
}

/** An action was understood and refused. */
export class AdminRefusal extends HoldfastError {
  readonly action: string;
  readonly result: number;
  readonly isLasting: boolean;

  constructor(facts: RefusalFacts) {
    const { meaning, remedy, isLasting } = meaningOf(facts);
    const own = [facts.message, facts.cause].filter((text) => text !== '').join(' ');
    const said = own === '' ? '' : ` The runtime says: ${own}`;
    super('RUNTIME_REFUSED', `${meaning} (${facts.action} answered ${facts.result}).${said}`, { remedy });
    this.action = facts.action;
    this.result = facts.result;
    this.isLasting = isLasting;
  }
}

/** The results of `start` that are part of an ordinary life. */
export const startResult = { noDatabase: 2, outOfSync: 3 } as const;

const lasting = (meaning: string, remedy: string): Meaning => ({ meaning, remedy, isLasting: true });
const passing = (meaning: string, remedy: string): Meaning => ({ meaning, remedy, isLasting: false });

const generic: Readonly<Record<number, Meaning>> = {
  [-1]: passing('The runtime received an empty request', 'This is a defect of Holdfast: report it.'),
  [-2]: passing('The runtime did not accept the content type', 'This is a defect of Holdfast: report it.'),
  [-3]: passing('The runtime did not accept the method', 'This is a defect of Holdfast: report it.'),
  [-4]: passing(
    'The runtime refused the admin password',
    'It was started by somebody else, or with another password: stop that runtime; its agent starts it with the right one.',
  ),
  [-5]: passing(
    'This version of the runtime does not know the action',
    'See which actions it knows: `get_admin_action_info`.',
  ),
  [-6]: passing(
    'The runtime could not read the request',
    'Try again; if it persists, see the log of the runtime.',
  ),
  [-7]: passing(
    'The runtime could not write its answer',
    'Try again; if it persists, see the log of the runtime.',
  ),
};

const ofStart: Readonly<Record<number, Meaning>> = {
  1: passing('The runtime could not be started', 'See the log of the runtime for the cause.'),
  [startResult.noDatabase]: passing(
    'The database has no structure of a Mendix application yet',
    'It is created when the cluster starts; see why that did not happen.',
  ),
  [startResult.outOfSync]: passing(
    'The structure of the database does not fit the model',
    'It is changed when the cluster starts; see why that did not happen.',
  ),
  4: lasting(
    'A constant of the model has no value',
    'Give it one under `app.settings.MicroflowConstants`, by its full name (Module.Constant).',
  ),
  5: lasting(
    'An administrator of the application has the password 1',
    'Give these users another password; a runtime in production does not start before.',
  ),
  6: passing(
    'The runtime cannot be started in its present state',
    'Its agent stops it and starts another process.',
  ),
  7: lasting('The setting DTAPMode is missing', 'Set `app.settings.DTAPMode`: P for production.'),
  8: lasting('The setting BasePath is missing', 'Set `app.mendix.appBase` to the folder of the application.'),
  9: lasting(
    'The setting RuntimePath is missing',
    'Install the runtime of the model’s version into one of the folders under `app.mendix.runtimes`.',
  ),
  10: lasting(
    'The licence is not valid',
    'Check the licence in `app.settings` (License.LicenseId and License.LicenseKey).',
  ),
  11: lasting(
    'The security level of the application is not set to production',
    'Set it in the model and deploy the application again.',
  ),
  12: passing(
    'The after-startup microflow of the application failed',
    'See the log of the runtime; it is tried again, as what it needs may have been away.',
  ),
  13: lasting(
    'The licence does not allow mobile use',
    'Get a licence that does, or deploy a model without mobile profiles.',
  ),
};

const others: Readonly<Record<string, Readonly<Record<number, Meaning>>>> = {
  start: ofStart,
  check_health: {
    2: passing('The runtime does not run, so its health cannot be asked', 'Wait until it has started.'),
  },
  update_configuration: {
    1: lasting('The runtime does not accept a setting', 'Correct it under `app.settings`.'),
  },
  create_log_subscriber: {
    3: passing(
      'There is a log subscriber of this name already',
      'Give each entry of `app.mendix.logging` its own name.',
    ),
  },
};

/** Whatever the code is. */
const ofAction: Readonly<Record<string, Meaning>> = {
  execute_ddl_commands: lasting(
    'The structure of the database could not be changed',
    'See the runtime’s words and the state of the database before you start it again: part of the commands may have run.',
  ),
};

function meaningOf({ action, result, feedback }: RefusalFacts): Meaning {
  const found = others[action]?.[result] ?? generic[result] ?? ofAction[action];
  if (!found)
    return passing(
      `The runtime refused ${action}`,
      'The code is not a documented one; see the log of the runtime.',
    );
  const users = (feedback as { users?: unknown } | undefined)?.users;
  return action === 'start' && result === 5 && Array.isArray(users) && users.length > 0
    ? { ...found, meaning: `${found.meaning}: ${users.join(', ')}` }
    : found;
}
