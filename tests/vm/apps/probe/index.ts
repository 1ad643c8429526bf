// What an app can and cannot do in its worker, tried from inside.
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { networkInterfaces, cpus } from "node:os";

function attempt(what: () => unknown): unknown {
  try {
    return what() ?? "done";
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? String(error);
  }
}

export default {
  fetch(request: Request) {
    const supervisor = Number(new URL(request.url).searchParams.get("supervisor"));
    const status = readFileSync("/proc/self/status", "utf8");
    const line = (name: string) => new RegExp(`^${name}:\\s*(.*)$`, "m").exec(status)?.[1];
    return Response.json({
      uid: process.getuid?.(),
      capabilities: line("CapEff"),
      noNewPrivs: line("NoNewPrivs"),
      seccomp: line("Seccomp"),
      environment: Object.keys(process.env).filter((name) => /^(RUNTIME_(?!API_URL)|NOTIFY|LISTEN|CREDENTIALS|WATCHDOG|MAINPID)/.test(name)),
      state: attempt(() => readdirSync("/var/lib/buntime").filter((name) => name !== "run" && name !== "data")),
      adminSocket: attempt(() => readdirSync("/run/buntime")),
      plugins: attempt(() => readdirSync("/srv/buntime/plugins")),
      shadow: attempt(() => readFileSync("/etc/shadow", "utf8").length),
      supervisorEnvironment: attempt(() => readFileSync(`/proc/${supervisor}/environ`, "utf8").length),
      signal: attempt(() => void process.kill(supervisor, 0)),
      userNamespace: Bun.spawnSync(["unshare", "--user", "true"]).exitCode,
      ownCode: attempt(() => writeFileSync(`${process.env.APP_DIR}/written`, "")),
      otherCode: attempt(() => writeFileSync("/srv/buntime/apps/hello/written", "")),
      ownData: attempt(() => writeFileSync(`${process.env.APP_DATA_DIR}/written`, "")),
      temporary: attempt(() => writeFileSync(`${process.env.TMPDIR}/written`, "")),
      processors: cpus().length,
      interfaces: Object.keys(networkInterfaces()),
    });
  },
};
