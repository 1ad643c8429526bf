/** What ASSIGN says to a plugin about itself. */
import type { ServerInfo } from "../../types/plugin.d.ts";
import { Violation } from "../frames.ts";
import { isRecord } from "./guards.ts";
import { decode } from "./values.ts";

export interface Seat {
  name: string;
  version: string;
  base: string | null;
  config: Record<string, unknown>;
  stateDir: string;
  /** Known once the listener is bound. */
  server: ServerInfo | null;
}

export function readSeat(bytes: Buffer): Seat {
  const fields = decode(bytes);
  if (!isObject(fields)) throw new Violation("the plugin of an ASSIGN is no map");
  const text = (key: string): string => {
    const value = fields[key];
    if (typeof value !== "string") throw new Violation(`the plugin of an ASSIGN has no string ${key}`);
    return value;
  };
  const textOrNull = (key: string): string | null => (fields[key] === null ? null : text(key));
  const [url, apiBase] = [textOrNull("server"), textOrNull("apiBase")];
  const { config } = fields;
  if (!isObject(config)) throw new Violation("the plugin of an ASSIGN has no map config");
  return {
    name: text("name"),
    version: text("version"),
    base: textOrNull("base"),
    config,
    stateDir: text("stateDir"),
    server: url === null || apiBase === null ? null : { url, apiBase },
  };
}

/** What a map of MessagePack has become. */
function isObject(value: unknown): value is Record<string, unknown> {
  return isRecord(value) && !(value instanceof Uint8Array);
}
