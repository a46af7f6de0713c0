/** What HAProxy and nginx are told: as proxies that are measured, and nginx also as the instances behind them. */

export interface CertificateFiles {
  readonly certificate: string;
  readonly key: string;
}

export interface ProxyPlace {
  /** Where the proxy listens. */
  readonly port: number;
  /** The ports of the instances. */
  readonly instances: readonly number[];
  /** A folder of its own. */
  readonly folder: string;
  readonly tls?: CertificateFiles;
}

/** Health as in the embedded engine's defaults, for every proxy that can be told so. */
export const health = { path: '/health', everyMs: 1_000, timeoutMs: 500, unhealthyAfter: 2, healthyAfter: 2 };

const oneThread = ['global', '  nbthread 1', '  maxconn 4000'];
const times = ['  timeout connect 5s', '  timeout client 60s', '  timeout server 60s'];

function haproxyFrontend({ port, tls }: ProxyPlace): string[] {
  // HAProxy wants certificate and key in one file, or the key beside it under the same name with .key.
  const secure = tls ? ` ssl crt ${tls.certificate}` : '';
  return ['frontend clients', `  bind 127.0.0.1:${port}${secure}`, '  default_backend instances'];
}

const haproxyServers = (ports: readonly number[], checks: string): string[] =>
  ports.map((port, index) => `  server shop-${index + 1} 127.0.0.1:${port} cookie s${index + 1} ${checks}`);

const text = (...lines: (string | readonly string[])[]): string => `${lines.flat().join('\n')}\n`;

/** What the cost is compared with: sticky by an inserted cookie, the client's address forwarded. */
export const haproxyForCost = (place: ProxyPlace): string =>
  text(
    oneThread,
    'defaults',
    '  mode http',
    times,
    haproxyFrontend(place),
    'backend instances',
    '  balance roundrobin',
    '  http-reuse always',
    '  option forwardfor',
    '  cookie holdfast insert indirect nocache httponly',
    haproxyServers(place.instances, 'check'),
  );

/** What most people have: `check`, and everything else by default. */
export const haproxyPlain = (place: ProxyPlace): string =>
  text(
    oneThread,
    'defaults',
    '  mode http',
    times,
    haproxyFrontend(place),
    'backend instances',
    '  balance roundrobin',
    '  cookie holdfast insert indirect nocache httponly',
    haproxyServers(place.instances, 'check'),
  );

/** What HAProxy can do: checks that ask the application, safe requests repeated elsewhere, traffic observed. */
export const haproxyTuned = (place: ProxyPlace): string =>
  text(
    oneThread,
    'defaults',
    '  mode http',
    times,
    `  timeout check ${health.timeoutMs}ms`,
    haproxyFrontend(place),
    'backend instances',
    '  balance roundrobin',
    '  retries 3',
    '  option redispatch 1',
    '  retry-on conn-failure empty-response 0rtt-rejected',
    '  http-request disable-l7-retry unless { method GET HEAD OPTIONS TRACE PUT DELETE }',
    `  option httpchk GET ${health.path}`,
    '  cookie holdfast insert indirect nocache httponly',
    `  default-server inter ${health.everyMs}ms fall ${health.unhealthyAfter} rise ${health.healthyAfter} ` +
      'observe layer7 error-limit 10 on-error mark-down on-marked-down shutdown-sessions',
    haproxyServers(place.instances, 'check'),
  );

/** One worker; temporary files where nginx may write whoever runs it. */
function nginx(folder: string, ...lines: (string | readonly string[])[]): string {
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
  return text(
    process.getuid?.() === 0 ? 'user root;' : '',
    'daemon off;',
    'worker_processes 1;',
    `pid ${folder}/nginx.pid;`,
    'events { worker_connections 8192; }',
    'http {',
    '  access_log off;',
    temporary.map((name) => `  ${name}_temp_path ${folder}/${name};`),
    '  keepalive_requests 1000000000;',
    ...lines,
    '}',
  );
}

const nginxUpstream = (ports: readonly number[]): string[] =>
  ports.map((port) => `    server 127.0.0.1:${port};`);

/** What the cost is compared with: kept connections to the instances, forwarded headers, bodies streamed. */
export function nginxForCost({ port, instances, folder, tls }: ProxyPlace): string {
  return nginx(
    folder,
    '  upstream instances {',
    nginxUpstream(instances),
    '    keepalive 64;',
    '    keepalive_requests 1000000000;',
    '  }',
    '  server {',
    `    listen 127.0.0.1:${port}${tls ? ' ssl' : ''};`,
    tls
      ? [
          `    ssl_certificate ${tls.certificate};`,
          `    ssl_certificate_key ${tls.key};`,
          '    ssl_protocols TLSv1.2 TLSv1.3;', // the default of this version ends at 1.2
        ]
      : [],
    '    location / {',
    '      proxy_pass http://instances;',
    '      proxy_http_version 1.1;',
    '      proxy_set_header Connection "";',
    '      proxy_set_header Host $host;',
    '      proxy_set_header X-Real-IP $remote_addr;',
    '      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;',
    '      proxy_set_header X-Forwarded-Proto $scheme;',
    '      proxy_request_buffering off;',
    '      proxy_max_temp_file_size 0;',
    '    }',
    '  }',
  );
}

/** Two servers and `proxy_pass`, nothing else. */
export const nginxDefaults = ({ port, instances, folder }: ProxyPlace): string =>
  nginx(
    folder,
    '  upstream instances {',
    nginxUpstream(instances),
    '  }',
    '  server {',
    `    listen 127.0.0.1:${port};`,
    '    location / { proxy_pass http://instances; }',
    '  }',
  );

/**
 * Instances that cost next to nothing: a small answer without a file, a large one from memory, and uploads that are
 * taken to their end before they are answered (`return` alone would answer at once, and measure nothing).
 */
export const nginxInstances = (folder: string, ports: readonly number[], body: string): string =>
  nginx(
    folder,
    '  sendfile on;',
    '  tcp_nopush on;',
    '  client_max_body_size 16m;',
    '  server {',
    ports.map((port) => `    listen 127.0.0.1:${port};`),
    `    location / { default_type text/plain; return 200 "${body}"; }`,
    `    location /large { root ${folder}; }`,
    `    location /uploads { root ${folder}; client_body_temp_path ${folder}/taken; dav_methods PUT; }`,
    '  }',
  );
