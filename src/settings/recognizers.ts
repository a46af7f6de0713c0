/** One function for each kind of application, in the order in which they are asked: the surest sign first. */
import type { Folder, Recognized } from './inspect.ts';

type Recognizer = (folder: Folder) => Promise<Recognized | undefined>;

const portAdvice = (how: string) => `It must listen on the port in the variable PORT: ${how}`;

const procfile: Recognizer = async ({ read }) => {
  const command = /^web:[ \t]*(\S.*)$/m.exec((await read('Procfile')) ?? '')?.[1]?.trim();
  if (!command) return undefined;
  const advice = command.includes('PORT')
    ? []
    : [portAdvice('the command in the Procfile does not mention it.')];
  return {
    application: 'an application with a Procfile',
    platform: 'process',
    command,
    healthPath: undefined,
    evidence: [`Procfile says how the process "web" is started: ${command}`],
    advice,
  };
};

const dotnet: Recognizer = async ({ names }) => {
  const project = names.find((name) => name.endsWith('.csproj'));
  if (!project) return undefined;
  return {
    application: 'a .NET application',
    platform: 'process',
    command: `dotnet run --no-launch-profile --configuration Release --project ${quoted(project)} --urls "http://127.0.0.1:$PORT"`,
    healthPath: undefined,
    evidence: [`${project} is here: a .NET project, started with the port in --urls.`],
    advice: ['On a server, start the published build instead: dotnet YourApplication.dll --urls …'],
    name: project.replace(/\.csproj$/, ''),
  };
};

const maven: Recognizer = async ({ names, read }) => {
  if (!names.includes('pom.xml')) return undefined;
  const whole = (await read('pom.xml')) ?? '';
  const own = whole.replaceAll(
    /<(parent|dependencies|dependencyManagement|build|profiles)>[\s\S]*?<\/\1>/g,
    '',
  );
  const tag = (name: string, text = own) =>
    new RegExp(`<${name}>\\s*([^<\\s$]+)\\s*</${name}>`).exec(text)?.[1];
  const artifact = tag('artifactId') ?? 'application';
  const version = tag('version');
  const jar = `target/${tag('finalName', whole) ?? (version ? `${artifact}-${version}` : artifact)}.jar`;
  return java(jar, `pom.xml is here: a Maven project, whose package is ${jar}.`, whole, artifact);
};

const gradle: Recognizer = async ({ names, read }) => {
  const file = names.find((name) => name === 'build.gradle' || name === 'build.gradle.kts');
  if (!file) return undefined;
  const text = (await read(file)) ?? '';
  const settings = (await read('settings.gradle')) ?? (await read('settings.gradle.kts')) ?? '';
  const name = /rootProject\.name\s*=\s*['"]([^'"]+)['"]/.exec(settings)?.[1] ?? 'application';
  const version = /^version\s*=?\s*['"]([^'"]+)['"]/m.exec(text)?.[1];
  const jar = `build/libs/${version ? `${name}-${version}` : name}.jar`;
  return java(jar, `${file} is here: a Gradle project, whose package is ${jar}.`, text, name);
};

function java(jar: string, evidence: string, buildFile: string, name: string): Recognized {
  const spring = /spring-boot|springframework\.boot/.test(buildFile);
  const quarkus = /quarkus/.test(buildFile);
  const options = quarkus ? '-Dquarkus.http.port="$PORT" ' : '';
  const actuator = /spring-boot-starter-actuator/.test(buildFile);
  return {
    application: spring
      ? 'a Spring Boot application'
      : quarkus
        ? 'a Quarkus application'
        : 'a Java application',
    platform: 'process',
    command: `java ${options}-jar ${quoted(jar)}${spring ? ' --server.port="$PORT"' : ''}`,
    healthPath: actuator
      ? '/actuator/health'
      : quarkus && /smallrye-health/.test(buildFile)
        ? '/q/health'
        : undefined,
    evidence: [evidence, ...(actuator ? ['It has the actuator, which answers /actuator/health.'] : [])],
    advice: [
      'Build it first.',
      ...(spring || quarkus ? [] : [portAdvice('nothing here shows that it does.')]),
    ],
    name,
  };
}

const php: Recognizer = async ({ names, read }) => {
  const composer = names.includes('composer.json');
  if (!composer && !names.includes('index.php')) return undefined;
  const laravel = names.includes('artisan');
  const root = (await read('public/index.php')) === undefined ? '.' : 'public';
  const name = jsonOf(composer ? await read('composer.json') : undefined).name;
  return {
    application: laravel ? 'a Laravel application' : 'a PHP application',
    platform: 'process',
    command: laravel
      ? 'php artisan serve --host=127.0.0.1 --port="$PORT" --no-reload'
      : `php -S "127.0.0.1:$PORT" -t ${root}`,
    healthPath: laravel ? '/up' : undefined,
    evidence: [
      `${laravel ? 'artisan' : composer ? 'composer.json' : 'index.php'} is here: PHP, with its pages in ${root}.`,
    ],
    advice: [
      "This is PHP's development server. For production, name the command of your own (FrankenPHP, RoadRunner, …).",
    ],
    name: typeof name === 'string' ? name.split('/').at(-1) : undefined,
  };
};

const nodeFrameworks = ['next', 'fastify', 'express', 'koa', '@nestjs/core', '@hapi/hapi', 'hono'];

const node: Recognizer = async ({ names, read }) => {
  if (!names.includes('package.json')) return undefined;
  const { name, main, scripts, dependencies } = jsonOf(await read('package.json'));
  const start = isRecord(scripts) && typeof scripts.start === 'string' ? scripts.start.trim() : undefined;
  const entry =
    typeof main === 'string'
      ? main
      : names.find((one) => /^(server|app|index|main)\.(m|c)?(j|t)s$/.test(one));
  if (!start && !entry) return undefined;
  const packages = isRecord(dependencies) ? Object.keys(dependencies) : [];
  const framework = nodeFrameworks.find((one) => packages.includes(one));
  // A plain `node …` is started directly: npm between the agent and the process only delays signals.
  const direct = start && /^node\s[^;&|<>]*$/.test(start) ? start : undefined;
  const command = direct ?? (start ? 'npm start' : `node ${quoted(entry ?? '')}`);
  const source = await read(/(\S+\.(?:m|c)?(?:j|t)s)\b/.exec(direct ?? command)?.[1] ?? entry ?? '');
  const fixedPort =
    source === undefined ? undefined : /\.listen\(\s*(?:\{\s*port:\s*)?(\d{2,5})/.exec(source)?.[1];
  const advice = [];
  if (fixedPort) advice.push(portAdvice(`it seems to listen on ${fixedPort} always; use process.env.PORT.`));
  if (packages.some((one) => one === 'express-session' || one === '@fastify/session')) {
    advice.push(
      "It keeps sessions: give them Holdfast's store (`holdfast/sessions`), so that they survive an instance.",
    );
  }
  return {
    application: framework ? `a Node.js application (${framework})` : 'a Node.js application',
    platform: 'process',
    command,
    healthPath: source && /['"`]\/health['"`]/.test(source) ? '/health' : undefined,
    evidence: [
      start
        ? `package.json has the start script: ${start}`
        : `package.json has no start script, but there is ${entry}.`,
    ],
    advice,
    name: typeof name === 'string' ? name : undefined,
  };
};

const jarFile: Recognizer = async ({ names }) => {
  const jar = names.find((name) => name.endsWith('.jar'));
  return jar === undefined
    ? undefined
    : java(jar, `${jar} is here: a Java application.`, '', jar.replace(/\.jar$/, ''));
};

const dockerfile: Recognizer = async ({ read }) => {
  const text = ((await read('Dockerfile')) ?? '').replaceAll(/\\\r?\n/g, ' ');
  const [entrypoint, cmd] = ['ENTRYPOINT', 'CMD'].map((word) => instruction(text, word));
  const command = [entrypoint, cmd].filter((part) => part !== undefined).join(' ');
  if (command === '') return undefined;
  const exposed = [...text.matchAll(/^\s*EXPOSE\s+(\d+)/gim)].at(-1)?.[1];
  return {
    application: 'an application with a Dockerfile',
    platform: 'process',
    command,
    healthPath: undefined,
    evidence: [`Dockerfile starts it with: ${command}`],
    advice: [
      'The command runs on this machine, not in a container: what it needs must be installed.',
      ...(command.includes('PORT')
        ? []
        : [portAdvice(`its Dockerfile ${exposed ? `exposes ${exposed}` : 'names none'}.`)]),
    ],
  };
};

/** The last ENTRYPOINT or CMD, in its shell form. */
function instruction(text: string, word: string): string | undefined {
  const value = [...text.matchAll(new RegExp(`^\\s*${word}\\s+(.+)$`, 'gim'))].at(-1)?.[1]?.trim();
  if (!value?.startsWith('[')) return value;
  const words = valueOfJson(value);
  return Array.isArray(words) && words.length > 0
    ? words.map((part) => quoted(String(part))).join(' ')
    : undefined;
}

function quoted(text: string): string {
  return /^[\w./:=@%+,$-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function jsonOf(text: string | undefined): Record<string, unknown> {
  const value = text === undefined ? undefined : valueOfJson(text);
  return isRecord(value) ? value : {};
}

function valueOfJson(text: string): unknown {
  try {
    return JSON.parse(text.replace(/^\uFEFF/, ''));
  } catch {
    return undefined; // a file that cannot be read tells nothing about the application
  }
}

export const recognizers: readonly Recognizer[] = [
  procfile,
  dotnet,
  maven,
  gradle,
  phpWithComposer,
  node,
  jarFile,
  php,
  dockerfile,
];

/** composer.json is a surer sign than package.json, which PHP projects have for their front end; index.php is not. */
async function phpWithComposer(folder: Folder): Promise<Recognized | undefined> {
  return folder.names.includes('composer.json') ? php(folder) : undefined;
}
