/** Load by wrk: one thread, so that it takes one core at most. */
import { Failure } from "./failure.ts";
import { output } from "./processes.ts";

const SCRIPT = `${import.meta.dir}/wrk.lua`;
/** Beyond the duration asked for, in ms. */
const LATENESS = 15_000;

export interface Load {
  requests: number;
  perSecond: number;
  /** µs. */
  p50: number;
  p99: number;
}

/**
 * `connections` keep-alive connections that ask again as soon as they are answered, for so many whole seconds.
 *
 * @throws Failure if any request failed: errors are quick, and a number made of them is worth nothing.
 */
export async function load(url: string, connections: number, seconds: number): Promise<Load> {
  const command = ["wrk", "-t1", `-c${connections}`, `-d${seconds}s`, "--timeout", "10s", "-s", SCRIPT, url];
  const text = await output(command, seconds * 1000 + LATENESS);
  const line = /^JSON (.*)$/m.exec(text)?.[1];
  if (line === undefined) throw new Failure(`wrk printed no result:\n${text}`);
  const result = JSON.parse(line) as { requests: number; duration: number; errors: number; p50: number; p99: number };
  if (result.errors > 0) throw new Failure(`${result.errors} of ${result.requests} requests to ${url} failed`);
  if (result.requests === 0) throw new Failure(`no request to ${url} was answered`);
  return { ...result, perSecond: result.requests / (result.duration / 1e6) };
}
