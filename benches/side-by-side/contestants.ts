/** Who is compared: buntime, nginx in front of Bun, and Bun alone. Each is started afresh for every turn. */
import fs from "node:fs";
import path from "node:path";
import { Failure } from "./failure.ts";
import { Owned, type SpawnOptions } from "./processes.ts";
import { children, tree } from "./proc.ts";

const PEERS = path.join(import.meta.dir, "peers");
const APPS = path.join(import.meta.dir, "apps");
/** How long a contestant may take to answer for the first time, in ms. */
const START_LIMIT = 20_000;
const START_PAUSE = 10;

export const HELLO = "Hello, world!\n";
export const NAMES = { buntime: "buntime", nginx: "nginx → Bun", bun: "bare Bun" } as const;
export type Contestant = keyof typeof NAMES;

/** An app of `apps/`, where every contestant serves it. */
export interface Served {
  app: "hello" | "once" | "transfer";
  /** A path that answers {@link answer}, asked until it does before anything is measured. */
  probe: string;
  answer: string;
}

export const SERVED_HELLO: Served = { app: "hello", probe: "/hello/", answer: HELLO };

/** Where this run keeps its files, and what it runs. */
export interface Place {
  /** A directory that is removed at the end. */
  dir: string;
  /** The release binary. */
  buntime: string;
}

/** A contestant that answers. */
export class Running {
  constructor(
    readonly port: number,
    /** In front: what a client speaks to. */
    readonly front: Owned,
    private readonly behind: Owned[],
    private readonly dir: string,
  ) {}

  url(pathname: string): string {
    return `http://127.0.0.1:${this.port}${pathname}`;
  }

  /** All its processes, as they are now. */
  pids(): number[] {
    return tree([this.front, ...this.behind].map((owned) => owned.pid));
  }

  /** The supervisor alone, or nginx alone. */
  frontPids(contestant: Contestant): number[] {
    return contestant === "nginx" ? tree([this.front.pid]) : [this.front.pid];
  }

  /** The worker processes of buntime, spares included. */
  workers(): number[] {
    return children(this.front.pid);
  }

  async stop(): Promise<void> {
    await Promise.all([this.front, ...this.behind].map((owned) => owned.stop()));
    fs.rmSync(this.dir, { recursive: true, force: true });
  }
}

export function start(contestant: Contestant, place: Place, served: Served): Promise<Running> {
  switch (contestant) {
    case "buntime":
      return startBuntime(place, { served });
    case "nginx":
      return startNginx(place, served);
    case "bun":
      return startBun(place, served);
  }
}

export interface BuntimeOptions {
  served: Served;
  flags?: string[];
  /** Further apps, all the hello: `app-0001` and so on. */
  copies?: number;
  /** Where the kernel allows no namespaces, so that apps' files are as they were: what hiding them costs. */
  unhidden?: boolean;
}

/** Runs the command behind it as root of a user namespace in which there can be no further one. */
const UNHIDDEN = [
  ...["unshare", "--user", "--map-root-user", "sh", "-c"],
  'for kind in user mnt; do echo 0 >/proc/sys/user/max_${kind}_namespaces; done; exec "$0" "$@"',
];

/** `buntime run` as in production, with the app's directory beside its copies. */
export async function startBuntime(place: Place, options: BuntimeOptions): Promise<Running> {
  const { served, flags = [], copies = 0, unhidden = false } = options;
  const dir = fs.mkdtempSync(path.join(place.dir, "buntime-"));
  const apps = path.join(dir, "apps");
  fs.cpSync(path.join(APPS, served.app), path.join(apps, served.app), { recursive: true });
  for (let i = 1; i <= copies; i++) fs.cpSync(path.join(APPS, "hello"), path.join(apps, copyName(i)), { recursive: true });
  const port = freePort();
  const front = new Owned({
    command: [
      ...(unhidden ? UNHIDDEN : []),
      ...[place.buntime, "run", "--worker-dirs", apps, "--state-dir", path.join(dir, "state"), "--cache-dir", path.join(place.dir, "cache")],
      ...["--env", "production", "--host", "127.0.0.1", "--port", String(port), "--bun", process.execPath],
      ...["--max-body-size", "2gb", ...flags],
    ],
    log: path.join(dir, "log"),
  });
  return ready(new Running(port, front, [], dir), served);
}

export function copyName(number: number): string {
  return `app-${String(number).padStart(4, "0")}`;
}

/** One worker process, keep-alive to Bun over a Unix socket, and the headers that a proxy has to set. */
async function startNginx(place: Place, served: Served): Promise<Running> {
  const dir = fs.mkdtempSync(path.join(place.dir, "nginx-"));
  const socket = path.join(dir, "app.sock");
  const behind = new Owned({ ...serve(served, socket), log: path.join(dir, "bun.log") });
  const port = freePort();
  const config = path.join(dir, "nginx.conf");
  fs.writeFileSync(config, nginxConfig({ dir, port, socket }));
  const front = new Owned({ command: ["nginx", "-p", dir, "-c", config, "-e", "stderr"], log: path.join(dir, "log") });
  return ready(new Running(port, front, [behind], dir), served);
}

async function startBun(place: Place, served: Served): Promise<Running> {
  const dir = fs.mkdtempSync(path.join(place.dir, "bun-"));
  const port = freePort();
  const front = new Owned({ ...serve(served, String(port)), log: path.join(dir, "log") });
  return ready(new Running(port, front, [], dir), served);
}

/** `bun FILE` that serves the hello on a port: the cheapest process that answers. */
export function helloCommand(port: number): SpawnOptions {
  return { command: [process.execPath, path.join(PEERS, "hello.ts"), String(port)] };
}

export const EMPTY_COMMAND = [process.execPath, path.join(PEERS, "empty.js")];

function serve({ app }: Served, place: string): SpawnOptions {
  return { command: [process.execPath, path.join(PEERS, "serve.ts"), path.join(APPS, app, "index.ts"), place] };
}

export function nginxConfig({ dir, port, socket }: { dir: string; port: number; socket: string }): string {
  // As root, nginx would run its worker as nobody, who cannot open the socket.
  const user = process.getuid?.() === 0 ? "user root;" : "";
  return `${user}
daemon off;
worker_processes 1;
pid ${dir}/nginx.pid;
events { worker_connections 4096; }
http {
  access_log off;
  client_body_temp_path ${dir}/body;
  proxy_temp_path ${dir}/proxy;
  fastcgi_temp_path ${dir}/fastcgi;
  uwsgi_temp_path ${dir}/uwsgi;
  scgi_temp_path ${dir}/scgi;
  client_max_body_size 2g;
  # The default closes a connection after 1000 requests.
  keepalive_requests 1000000000;
  upstream app {
    server unix:${socket};
    keepalive 256;
    keepalive_requests 1000000000;
  }
  server {
    listen 127.0.0.1:${port} backlog=4096;
    location / {
      proxy_pass http://app;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_request_buffering off;
    }
  }
}
`;
}

/** Waits for the right answer. */
async function ready(running: Running, { probe, answer }: Served): Promise<Running> {
  const deadline = performance.now() + START_LIMIT;
  let last = "no answer";
  while (performance.now() < deadline && !running.front.ended) {
    try {
      const response = await fetch(running.url(probe), { signal: AbortSignal.timeout(START_LIMIT) });
      const body = await response.text();
      if (response.status === 200 && body === answer) return running;
      last = `${response.status} ${body}`;
    } catch (error) {
      last = String(error);
    }
    await Bun.sleep(START_PAUSE);
  }
  throw new Failure(`${running.url(probe)} does not answer ${JSON.stringify(answer)}: ${last}\n${running.front.tail()}`);
}

export function freePort(): number {
  const listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  const { port } = listener;
  listener.stop(true);
  return port;
}
