#!/usr/bin/env node
// Starts the buntime of this platform in its own place: the same arguments, standard descriptors, signals (but SIGUSR2) and exit code.
"use strict";

const { spawn } = require("node:child_process");
const { existsSync } = require("node:fs");
const { constants } = require("node:os");
const { delimiter, dirname, join } = require("node:path");

const { optionalDependencies } = require("../package.json");

function fail(message, hint) {
  process.stderr.write(`error: ${message}\n\nhint: ${hint}\n`);
  process.exit(1);
}

function find() {
  const platform = `${process.platform}-${process.arch}`;
  const name = `@buntime/${platform}`;
  if (!(name in optionalDependencies)) {
    const known = Object.keys(optionalDependencies).map((name) => name.slice("@buntime/".length));
    fail(`there is no buntime for ${platform}`, `it runs on ${known.join(" and ")}`);
  }
  // musl says so here by its absence.
  if (process.platform === "linux" && !process.report.getReport().header.glibcVersionRuntime) {
    fail("there is no buntime for Linux with musl", "it runs on Linux with glibc, such as Debian, Ubuntu and Fedora");
  }
  try {
    return require.resolve(`${name}/bin/buntime`);
  } catch {
    fail(
      `the package ${name} is missing, which has the program`,
      "install without --omit=optional (--no-optional), and on the machine that it is to run on",
    );
  }
}

/** Where the bun is that was installed with this package; the one that its postinstall script leaves, else the one it starts from. */
function directoryOfBun() {
  try {
    const packages = dirname(dirname(require.resolve("bun/package.json")));
    const machine = process.arch === "arm64" ? "aarch64" : process.arch;
    const unpacked = join(packages, "@oven", `bun-${process.platform}-${machine}`, "bin");
    return [unpacked, join(packages, ".bin")].find((dir) => existsSync(join(dir, "bun")));
  } catch {
    return undefined;
  }
}

const program = find();
const args = process.argv.slice(2);
const env = { ...process.env };
const bun = directoryOfBun();
if (bun) env.PATH = env.PATH ? bun + delimiter + env.PATH : bun;

// npx starts us by a shell, which passes no signal on: told to end it ends, and leaves us.
const throughShell = process.env.npm_command === "exec";
if (typeof process.execve === "function" && !throughShell) {
  // It takes our place: there is nothing to forward.
  process.execve(program, [program, ...args], env);
}

const child = spawn(program, args, { stdio: "inherit", env });
// A terminal sends these to both of us, and twice is another thing than once.
const fromTerminal = process.stdin.isTTY ? ["SIGINT", "SIGQUIT"] : [];
for (const signal of ["SIGINT", "SIGQUIT", "SIGTERM", "SIGHUP"]) {
  process.on(signal, () => fromTerminal.includes(signal) || child.kill(signal));
}
// The process that takes over would be no child of ours: we would end with the first one, and nobody would own the server.
process.on("SIGUSR2", () => {
  process.stderr.write(`SIGUSR2 is not passed on, as the launcher would lose the server; send it to process ${child.pid}, or restart\n`);
});
if (throughShell) {
  const parent = process.ppid;
  const watch = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(watch);
    child.kill("SIGTERM");
  }, 500);
}
child.on("error", (error) => fail(`cannot start ${program}: ${error.message}`, "install the package again"));
child.on("exit", (code, signal) => process.exit(code ?? 128 + constants.signals[signal]));
