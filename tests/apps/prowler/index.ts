/** Tries to get at what is not its own. What it was refused ends in `denied: …`. */

import { connect } from "node:net";
import {
  appendFileSync, closeSync, linkSync, openSync, readFileSync, readdirSync, readlinkSync, renameSync, symlinkSync, unlinkSync, writeFileSync,
} from "node:fs";

interface Targets {
  state: string;
  socket: string;
  /** The executable that workers are started from, and the cache directory that it is in. */
  executable: string;
  cache: string;
  supervisor: number;
  worker: number;
  /** The data directory of another app. */
  data: string;
}

function attempt(what: () => unknown): unknown {
  try {
    return what() ?? "done";
  } catch (error) {
    return `denied: ${(error as NodeJS.ErrnoException).code ?? error}`;
  }
}

function connected(path: string): Promise<string> {
  return new Promise((done) => {
    const socket = connect(path, () => done("connected")).on("error", (error: NodeJS.ErrnoException) => done(`denied: ${error.code}`));
    socket.on("close", () => socket.destroy());
  });
}

function files({ state, executable, cache, data }: Targets): Record<string, unknown> {
  return {
    "list the state directory": attempt(() => readdirSync(state).sort()),
    "read the secret": attempt(() => readFileSync(`${state}/secret`, "latin1")),
    "list the data of another": attempt(() => readdirSync(data)),
    "read the data of another": attempt(() => readFileSync(`${data}/note`, "utf8")),
    "list the run directory": attempt(() => readdirSync(`${state}/run`).flatMap((run) => readdirSync(`${state}/run/${run}`)).sort()),
    "list the workers' directories": attempt(() => readdirSync(`${state}/run/${readdirSync(`${state}/run`)[0]}/workers`)),
    "write in the state directory": attempt(() => writeFileSync(`${state}/mine`, "")),
    "write among the data": attempt(() => writeFileSync(`${state}/data/mine`, "")),
    "write in the cache": attempt(() => writeFileSync(`${cache}/mine`, "")),
    // What it runs from itself is there to be read.
    "list the cache": attempt(() => readdirSync(cache).filter((name) => !name.startsWith("shim-"))),
    "open the executable": attempt(() => closeSync(openSync(executable, "r+"))),
    "write to the executable": attempt(() => appendFileSync(executable, "x")),
    "remove the executable": attempt(() => unlinkSync(executable)),
    "replace the executable": attempt(() => (symlinkSync("/bin/true", `${executable}.new`), renameSync(`${executable}.new`, executable))),
    "link the executable": attempt(() => linkSync(executable, `${process.env.APP_DATA_DIR}/link`)),
  };
}

function processes({ state, supervisor, worker }: Targets): Record<string, unknown> {
  const found: Record<string, unknown> = {};
  for (const [who, pid] of [["supervisor", supervisor], ["worker", worker]] as const) {
    for (const file of ["environ", "mem", "maps", "auxv"]) found[`${who} ${file}`] = attempt(() => readFileSync(`/proc/${pid}/${file}`).length);
    for (const link of ["cwd", "exe", "root", "fd/3", "ns/mnt"]) found[`${who} ${link}`] = attempt(() => readlinkSync(`/proc/${pid}/${link}`));
    for (const way of ["root", `root${state}`, "cwd/.."]) found[`${who} in ${way}`] = attempt(() => readdirSync(`/proc/${pid}/${way}`));
    for (const signal of ["SIGSTOP", "SIGKILL"] as const) found[`${who} ${signal}`] = attempt(() => process.kill(pid, signal));
  }
  return found;
}

/** Each prints the name of what it found, or nothing. */
function commands({ state, data, socket, supervisor, worker }: Targets): Record<string, string> {
  const look = `cat '${state}/secret' '${data}/note'; test -S '${socket}' && echo socket; touch '${state}/mine' && echo written`;
  const scripts: Record<string, string> = {
    plain: look,
    umount: `umount '${state}'; umount -l '${state}'; ${look}`,
    remount: `mount -o remount,rw '${state}'; mount -o remount,bind,rw '${state}'; ${look}`,
    namespace: `unshare -Urm sh -c "umount '${state}'; umount -l '${state}'; umount -R '${state}'; ${look}"`,
    "nested mounts": `unshare -Urm sh -c "mount -o remount,bind,rw '${state}'; mount --bind / /mnt && cd '/mnt${state}' && cat secret; ${look}"`,
    "all mounts": `unshare -Urm sh -c "mount --rbind / /mnt; umount -l '/mnt${state}'; cat '/mnt${state}/secret'; umount -l /mnt; ${look}"`,
    "move the cover": `unshare -Urm sh -c "mount --move '${state}' /mnt; ${look}"`,
    pivot: `unshare -Urm sh -c "mount --rbind '${process.env.HOME}' '${process.env.HOME}' && cd '${process.env.HOME}' && mkdir -p old && pivot_root . old; umount -l 'old${state}'; cat 'old${state}/secret'"`,
    chroot: `unshare -Urm chroot /proc/self/root sh -c "${look}"`,
  };
  for (const pid of [supervisor, worker, 1]) {
    scripts[`enter ${pid}`] = `nsenter -t ${pid} -m sh -c "${look}"; nsenter -t ${pid} -U -m sh -c "${look}"; unshare -Ur nsenter -t ${pid} -m sh -c "${look}"`;
  }
  const results = Object.entries(scripts).map(([name, script]) => [name, Bun.spawnSync(["sh", "-c", script]).stdout.toString()]);
  return Object.fromEntries(results);
}

export default {
  async fetch(request: Request): Promise<Response> {
    const { pathname } = new URL(request.url);
    const data = process.env.APP_DATA_DIR!;
    if (pathname === "/note") {
      if (request.method === "POST") writeFileSync(`${data}/note`, await request.text());
      return new Response(readFileSync(`${data}/note`, "utf8"));
    }
    if (pathname === "/self") {
      for (const dir of [process.env.HOME!, process.env.TMPDIR!]) {
        writeFileSync(`${dir}/mine`, "written");
        if (readFileSync(`${dir}/mine`, "utf8") !== "written") throw new Error(dir);
      }
      const temporary = Bun.spawnSync(["mktemp"]).stdout.toString().trim();
      // As shell scripts do it.
      writeFileSync("/dev/stderr", "told\n");
      const control = Bun.spawnSync(["unshare", "-Urm", "sh", "-c", "mount -t tmpfs none /mnt && echo mounted"]).stdout.toString().trim();
      return Response.json({ temporary, control, pid: process.pid, user: process.getuid!(), groups: process.getgroups!() });
    }
    if (pathname === "/read") {
      const paths = (await request.json()) as string[];
      const unmounted = (path: string) =>
        Bun.spawnSync(["unshare", "-Urm", "sh", "-c", 'umount "$0"; umount -l "$0"; umount -R "$(dirname "$0")"; cat "$0"', path]).stdout.toString();
      return Response.json({ plain: paths.map((path) => attempt(() => readFileSync(path, "utf8"))), unmounted: paths.map(unmounted) });
    }
    const targets = (await request.json()) as Targets;
    return Response.json({
      socket: await connected(targets.socket),
      files: files(targets),
      processes: processes(targets),
      commands: commands(targets),
    });
  },
};
