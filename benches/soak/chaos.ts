/** What is done to the runtime while it is asked. */
import type { Options } from "./options.ts";
import type { Scene } from "./load.ts";

/** Between two of them, in ms. */
const PAUSE = 1_500;
/** A version that loses more than this in a minute backs off, rightly. */
const KILLS_A_MINUTE = 2;
const KILLED = ["hello", "echo", "stream", "big", "slow", "shop"];
/** Longest that a plugin which was off is still missed, in ms. */
const LATE = 3_000;

const HAND_OVER = "SIGUSR2";

type Act = { name: string; weight: number; run: () => Promise<string | undefined> };

export class Chaos {
  readonly #scene: Scene;
  readonly #acts: Act[];
  readonly #kills = new Map<string, number[]>();
  readonly done = new Map<string, number>();
  #off = false;
  #offUntil = 0;

  constructor(scene: Scene, { without }: Options) {
    this.#scene = scene;
    const { shop, chance } = scene;
    const quiet = (work: () => Promise<unknown>) => async (): Promise<string> => (await work(), "");
    const acts: (Act & { part?: string })[] = [
      { part: "kills", name: "kill a worker", weight: 5, run: () => this.#killWorker() },
      { part: "kills", name: "kill a spare", weight: 3, run: () => this.#killSpare() },
      { part: "deploys", name: "deploy", weight: 4, run: () => shop.deploy() },
      { part: "deploys", name: "replace", weight: 2, run: () => shop.replace() },
      { part: "deploys", name: "move an alias", weight: 3, run: quiet(() => shop.move(chance.of(shop.versions))) },
      { part: "deploys", name: "roll back", weight: 2, run: async () => ((await shop.rollBack()) ? "" : undefined) },
      { part: "deploys", name: "split", weight: 1, run: quiet(() => shop.split()) },
      { name: "restart an app", weight: 2, run: () => this.#restart() },
      { name: "have an app crash", weight: 3, run: quiet(() => this.#crash()) },
      { part: "plugins", name: "reload the plugins", weight: 1, run: quiet(() => this.#plugin("/plugins/reload")) },
      { part: "plugins", name: "turn a plugin off and on", weight: 1, run: quiet(() => this.#offAndOn()) },
      { part: "plugins", name: "kill a plugin's process", weight: 1, run: () => this.#killPlugin() },
      { part: "reload", name: "SIGHUP", weight: 2, run: quiet(() => this.#hangUp()) },
      { part: "handover", name: HAND_OVER, weight: 1, run: quiet(() => this.#handOver()) },
    ];
    this.#acts = acts.filter(({ part }) => part === undefined || !(without as ReadonlySet<string>).has(part));
  }

  pluginOff(): boolean {
    return this.#off || Date.now() < this.#offUntil;
  }

  /** `one`: the process is not to be exchanged. */
  async run(one: boolean): Promise<void> {
    const { stopped, chance, ledger } = this.#scene;
    const acts = this.#acts.filter(({ name }) => !one || name !== HAND_OVER);
    while (!stopped()) {
      await Bun.sleep(PAUSE * (0.5 + chance.next()));
      if (stopped()) return;
      let at = chance.below(acts.reduce((sum, { weight }) => sum + weight, 0));
      const act = acts.find(({ weight }) => (at -= weight) < 0)!;
      const began = Date.now();
      ledger.strike(act.name);
      try {
        const what = await act.run();
        if (what !== undefined) this.done.set(act.name, (this.done.get(act.name) ?? 0) + 1);
      } catch (error) {
        ledger.failed("operator", began, `${act.name}: ${(error as Error).message}`, false);
      }
    }
  }

  async #killWorker(): Promise<string | undefined> {
    const { runtime, chance, ledger } = this.#scene;
    const now = Date.now();
    const may = (app: string): boolean => (this.#kills.get(app) ?? []).filter((at) => at > now - 60_000).length < KILLS_A_MINUTE;
    const workers = (await runtime.workers()).filter(
      ({ app, state, draining, pid }) =>
        pid !== undefined && !draining && state !== "creating" && app !== undefined && KILLED.includes(app) && may(app),
    );
    if (workers.length === 0) return undefined;
    const { app, pid } = chance.of(workers);
    // Noted first: what it hits may be seen before this process goes on.
    ledger.strike(`kill -9 of ${app}'s worker ${pid}`, app);
    if (!runtime.kill(pid!)) return undefined;
    this.#kills.set(app!, [...(this.#kills.get(app!) ?? []), now].slice(-10));
    return `${app} ${pid}`;
  }

  async #killSpare(): Promise<string | undefined> {
    const { runtime, chance, ledger } = this.#scene;
    const spares = (await runtime.workers()).filter(({ app, plugin, pid }) => app === undefined && plugin === undefined && pid !== undefined);
    if (spares.length === 0) return undefined;
    const { id, pid } = chance.of(spares);
    // It may have become an app's since: then that app's request is hit, as it is if it becomes one's between this look and the end.
    const now = (await runtime.workers()).find((worker) => worker.id === id);
    if (now === undefined || now.app !== undefined || now.plugin !== undefined) return undefined;
    ledger.strikeSpare(`kill -9 of spare ${pid}`);
    return runtime.kill(pid!) ? `${pid}` : undefined;
  }

  async #killPlugin(): Promise<string | undefined> {
    const { runtime, ledger } = this.#scene;
    const recent = (this.#kills.get("soak") ?? []).filter((at) => at > Date.now() - 60_000);
    const worker = (await runtime.workers()).find(({ plugin, pid, state }) => plugin === "soak" && pid !== undefined && state !== "creating");
    if (worker === undefined || recent.length >= 1) return undefined;
    this.#kills.set("soak", [...recent, Date.now()]);
    ledger.strike("kill -9 of the plugin's process", "soak");
    this.#offUntil = Date.now() + LATE;
    return runtime.kill(worker.pid!) ? `${worker.pid}` : undefined;
  }

  async #restart(): Promise<string> {
    const app = this.#scene.chance.of(["hello", "echo", "stream", "shop"]);
    this.#scene.ledger.strike(`restart of ${app}`);
    await this.#scene.runtime.api("POST", `/apps/${app}/restart`);
    return app;
  }

  async #crash(): Promise<void> {
    await fetch(`http://127.0.0.1:${this.#scene.runtime.port}/crash/exit`, { keepalive: false }).then((answer) => answer.text());
  }

  async #plugin(path: string): Promise<void> {
    this.#scene.ledger.strike(path, "soak");
    await this.#scene.runtime.api("POST", path);
    this.#scene.ledger.strike(`${path} is done`, "soak");
  }

  async #offAndOn(): Promise<void> {
    this.#off = true;
    try {
      await this.#plugin("/plugins/soak/disable");
      await Bun.sleep(500);
      await this.#plugin("/plugins/soak/enable");
    } finally {
      this.#off = false;
      this.#offUntil = Date.now() + LATE;
    }
  }

  async #hangUp(): Promise<void> {
    const { runtime, ledger } = this.#scene;
    ledger.strike("SIGHUP");
    // Plugins are loaded anew.
    ledger.strike("SIGHUP", "soak");
    runtime.signal("SIGHUP");
    await Bun.sleep(500);
  }

  async #handOver(): Promise<void> {
    const { runtime, ledger } = this.#scene;
    ledger.strike(HAND_OVER);
    ledger.strike(HAND_OVER, "soak");
    await runtime.handOver();
    ledger.strike("another process has taken over");
    ledger.strike("another process has taken over", "soak");
  }
}
