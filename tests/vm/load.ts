// Constant load: bun load.ts URL. Half of the clients keep their connection, the others take a new one for each request.
// Prints `warm` once every client has had answers, and, at SIGTERM, what came of it as one line of JSON.
import { connect, type Socket } from "node:net";

const url = new URL(process.argv[2]!);
const CLIENTS = 8;
const PATIENCE = 30_000;
const failures: Record<string, number> = {};
const answered = new Array<number>(CLIENTS).fill(0);
let [slowest, ended, warm] = [0, false, false];

/** What a connection has received since the last request. */
class Connection {
  private received = "";
  private closed?: string;
  private wake = () => {};

  private constructor(private readonly socket: Socket) {
    socket.setNoDelay(true);
    socket.on("data", (data) => ((this.received += data.toString("latin1")), this.wake()));
    socket.on("error", (error: NodeJS.ErrnoException) => ((this.closed = error.code ?? "error"), this.wake()));
    socket.on("close", () => ((this.closed ??= "closed"), this.wake()));
    // Half-closed: no answer will come any more.
    socket.on("end", () => ((this.closed ??= "closed"), this.wake()));
  }

  static open(): Promise<Connection> {
    return new Promise((resolve, reject) => {
      const socket = connect({ host: url.hostname, port: Number(url.port) });
      socket.once("error", reject);
      socket.once("connect", () => {
        socket.off("error", reject);
        resolve(new Connection(socket));
      });
    });
  }

  /** Whether it can take another request. */
  async request(keep: boolean): Promise<boolean> {
    this.received = "";
    const options = keep ? "" : "connection: close\r\n";
    this.socket.write(`GET ${url.pathname} HTTP/1.1\r\nhost: ${url.host}\r\n${options}\r\n`);
    const deadline = Date.now() + PATIENCE;
    for (;;) {
      const head = this.received.indexOf("\r\n\r\n");
      const length = /\r\ncontent-length: (\d+)/i.exec(this.received)?.[1];
      if (head >= 0 && length !== undefined && this.received.length >= head + 4 + Number(length)) break;
      if (this.closed) throw new Error(`${this.closed} ${this.received ? "in" : "before"} the answer`);
      if (Date.now() > deadline) throw new Error("no answer in 30 s");
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, 1000);
        this.wake = () => (clearTimeout(timer), resolve());
      });
    }
    const status = this.received.split(" ")[1];
    if (status !== "200") throw new Error(`status ${status}`);
    return keep && !this.closed && !/\r\nconnection: close/i.test(this.received);
  }

  /** Ended by the other side while it was idle: as any client sees before it uses it again. */
  get isOver(): boolean {
    return this.closed !== undefined;
  }

  end() {
    this.socket.destroy();
  }
}

async function client(number: number) {
  const keep = number % 2 === 0;
  let connection: Connection | undefined;
  while (!ended) {
    const began = performance.now();
    try {
      if (connection?.isOver) connection = void connection.end();
      connection ??= await Connection.open();
      if (!(await connection.request(keep))) connection = void connection.end();
      answered[number]!++;
    } catch (error) {
      connection = void connection?.end();
      const why = (error as NodeJS.ErrnoException).code ?? (error as Error).message;
      failures[why] = (failures[why] ?? 0) + 1;
      await Bun.sleep(50);
    }
    slowest = Math.max(slowest, performance.now() - began);
    if (!warm && answered.every((count) => count >= 5)) {
      warm = true;
      console.log("warm");
    }
    await Bun.sleep(Math.random() * 20);
  }
  connection?.end();
}

process.on("SIGTERM", () => (ended = true));
await Promise.all(answered.map((_, number) => client(number)));
const sum = (counts: number[]) => counts.reduce((a, b) => a + b, 0);
console.log(
  JSON.stringify({ answered: sum(answered), failed: sum(Object.values(failures)), failures, slowest: Math.round(slowest) }),
);
