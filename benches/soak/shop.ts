/** The app that is deployed again and again, and which answers it may give when. */
import fs from "node:fs";
import path from "node:path";
import type { Runtime } from "./runtime.ts";

interface Turn {
  texts: string[];
  from: number;
  until: number;
}

/** So many versions stay. */
const KEPT = 3;

export class Shop {
  readonly #runtime: Runtime;
  readonly #source: string;
  readonly #versions: string[] = [];
  readonly #texts = new Map<string, string>();
  #turns: Turn[] = [];
  #count = 0;

  constructor(runtime: Runtime) {
    this.#runtime = runtime;
    this.#source = path.join(runtime.dir, "shop");
    fs.mkdirSync(this.#source);
  }

  /** Whether a request that began and ended then may have had this answer. */
  mayHave(text: string, began: number, ended: number): boolean {
    return this.#turns.some((turn) => turn.texts.includes(text) && turn.from <= ended && turn.until >= began);
  }

  async deploy(): Promise<string> {
    const version = `1.0.${this.#count}`;
    await this.#change(() => this.#put(version));
    this.#versions.push(version);
    if (this.#versions.length > KEPT) {
      const oldest = this.#versions.shift()!;
      await this.#runtime.command("rm", `shop@${oldest}`, "--yes", "--quiet");
    }
    return version;
  }

  async replace(): Promise<string> {
    const version = (await this.#meant())[0]!;
    await this.#change(() => this.#put(version, "--replace"));
    return version;
  }

  async move(version: string): Promise<void> {
    await this.#change(async () => {
      await this.#runtime.api("PUT", "/apps/shop/aliases/latest", { version });
      return [this.#texts.get(version)!];
    });
  }

  /** False = what it stood for before has been deleted since. */
  async rollBack(): Promise<boolean> {
    let done = true;
    await this.#change(async () => {
      await this.#runtime.api("POST", "/apps/shop/rollback").catch((error: Error) => {
        if (!/"code":"(version_unknown|nothing_to_go_back_to)"/.test(error.message)) throw error;
        done = false;
      });
      // What it stood for before may have been a split.
      return (await this.#meant()).map((version) => this.#texts.get(version)!);
    });
    return done;
  }

  async split(): Promise<void> {
    const [one, two] = this.#versions.slice(-2) as [string, string];
    await this.#change(async () => {
      await this.#runtime.api("PUT", "/apps/shop/aliases/latest", { weights: { [one]: 50, [two]: 50 } });
      return [this.#texts.get(one)!, this.#texts.get(two)!];
    });
  }

  get versions(): readonly string[] {
    return this.#versions;
  }

  /** The versions that the name means now. */
  async #meant(): Promise<string[]> {
    const { aliases } = await this.#runtime.api<{ aliases: Alias[] }>("GET", "/apps/shop/aliases");
    return Object.keys(aliases.find(({ name }) => name === "latest")?.weights ?? {});
  }

  async #put(version: string, ...more: string[]): Promise<string[]> {
    this.#count += 1;
    const text = `${version} ${this.#count}`;
    fs.writeFileSync(path.join(this.#source, "index.ts"), `export default { fetch: () => new Response(${JSON.stringify(text)}) };\n`);
    await this.#runtime.command("deploy", this.#source, "--name", "shop", "--version", version, "--quiet", ...more);
    this.#texts.set(version, text);
    return [text];
  }

  /** What was meant before may be answered until the change has been made, and what is meant then as soon as it is begun. */
  async #change(change: () => Promise<string[]>): Promise<void> {
    const turn: Turn = { texts: [], from: Date.now(), until: Infinity };
    const before = this.#turns.at(-1);
    // Nobody knows yet what it will say.
    const upcoming = `1.0.${this.#count} ${this.#count + 1}`;
    turn.texts.push(upcoming, ...this.#versions.map((version) => `${version} ${this.#count + 1}`));
    turn.texts.push(...this.#texts.values());
    this.#turns.push(turn);
    // Where it fails, nothing has changed.
    let texts = before?.texts ?? [];
    try {
      texts = await change();
    } finally {
      if (before !== undefined) before.until = Date.now();
      turn.until = Date.now();
      this.#turns.push({ texts, from: turn.from, until: Infinity });
    }
    this.#turns = this.#turns.filter(({ until }) => until > Date.now() - 120_000);
  }
}

interface Alias {
  name: string;
  weights: Record<string, number>;
}
