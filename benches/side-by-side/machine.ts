/** Where and with what the numbers were made. */
import fs from "node:fs";
import os from "node:os";
import { output } from "./processes.ts";

const LIMIT = 10_000;

export interface Machine {
  processor: string;
  cores: number;
  memory: string;
  system: string;
  kernel: string;
  /** Processes that wanted to run before the first row, over a minute. */
  load: number;
  versions: Record<string, string>;
}

export async function describe(buntime: string): Promise<Machine> {
  const cpus = os.cpus();
  return {
    processor: cpus[0]?.model.trim() || os.machine(),
    cores: cpus.length,
    memory: `${(os.totalmem() / 1024 ** 3).toFixed(0)} GB`,
    system: systemName(),
    kernel: `${os.type()} ${os.release()}`,
    load: os.loadavg()[0]!,
    versions: {
      buntime: `${await version([buntime, "--version"], /(\S+)$/m)} (${await commit()})`,
      bun: Bun.version,
      nginx: await version(["sh", "-c", "nginx -v 2>&1"], /nginx\/(\S+)/),
      // It exits with 1 after its version.
      wrk: await version(["sh", "-c", "wrk -v 2>&1 || true"], /wrk (?:\w+\/)?(\S+)/),
      curl: await version(["curl", "--version"], /^curl (\S+)/),
    },
  };
}

async function version(command: string[], pattern: RegExp): Promise<string> {
  return pattern.exec(await output(command, LIMIT))?.[1] ?? "unknown";
}

/** The commit, and whether the tree differs from it. Sources may have come without git. */
async function commit(): Promise<string> {
  try {
    const id = (await output(["git", "rev-parse", "--short=12", "HEAD"], LIMIT)).trim();
    const changes = await output(["git", "status", "--porcelain", "--", "src", "worker-shim", "Cargo.lock"], LIMIT);
    return changes === "" ? id : `${id} and changes`;
  } catch {
    return "no commit";
  }
}

function systemName(): string {
  try {
    return /^PRETTY_NAME="?([^"\n]+)/m.exec(fs.readFileSync("/etc/os-release", "utf8"))?.[1] ?? os.platform();
  } catch {
    return os.platform();
  }
}
