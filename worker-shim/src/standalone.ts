/**
 * Most workers run as an executable that Bun has made of itself and this shim, which starts faster than `bun shim.js`. An
 * app is not to notice: what it starts with `process.execPath` is `bun`.
 */

/** Asked by the supervisor, which wants to know whether the executable runs and which one it is. */
const BUILD_FLAG = "--build";

/**
 * Whether this process is a worker. Else it was asked for its build, which it prints, or a `Worker` thread, whose
 * `process.execPath` is this executable, has started it as if it were `bun`: then that takes its place.
 *
 * @param bun path of the `bun` that the executable was made from
 */
export function isWorker(bun: string, build: string): boolean {
  const { argv } = process;
  if (argv.length > 2) {
    if (argv[2] !== BUILD_FLAG) process.execve!(bun, [bun, ...argv.slice(2)]);
    console.log(build);
    return false;
  }
  if (Bun.isStandaloneExecutable) process.execPath = process.argv0 = argv[0] = bun;
  return true;
}
