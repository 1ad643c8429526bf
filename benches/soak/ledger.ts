/** What became of every request, and what explains those that failed. */

/** Something that was done to the runtime, and whose requests it may have hit. */
export interface Blow {
  at: number;
  what: string;
  /** The app whose worker was killed, or none: nothing may show. */
  app?: string;
  /** A worker without an app was killed. It may have got one since it was looked at, and a request with it. */
  spare?: true;
}

export interface Unexplained {
  at: string;
  what: string;
  app: string;
  took: number;
  /** What was done just before. */
  before: string[];
}

/** How long after a blow a request may show it, in ms: a busy machine takes its time to tell. */
const LATE = 3_000;
/** The same where a request was hit by chance: it was there at that very moment. */
const SOON = 100;
const KEPT = 200;

export class Ledger {
  readonly counts = new Map<string, number>();
  readonly unexplained: Unexplained[] = [];
  unexplainedCount = 0;
  readonly blows: Blow[] = [];

  count(what: string): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + 1);
  }

  strike(what: string, app?: string): void {
    this.blows.push({ at: Date.now(), what, ...(app === undefined ? {} : { app }) });
  }

  strikeSpare(what: string): void {
    this.blows.push({ at: Date.now(), what, spare: true });
  }

  /** A request of this app that began then has failed in this way. */
  failed(app: string, began: number, how: string, expected: boolean): void {
    if (expected) {
      this.count(`${app}: ${how} (expected)`);
      return;
    }
    const now = Date.now();
    const blow = this.blows.find((blow) => blow.app === app && blow.at <= now && blow.at >= began - LATE);
    if (blow !== undefined && isOfADeadWorker(how)) {
      this.count(`${app}: ${how} (its worker was killed)`);
      return;
    }
    if (how === "502 worker_died" && this.blows.some(({ at, spare }) => spare && at >= began && at <= now && now - at <= SOON)) {
      this.count(`${app}: ${how} (the spare that it got was killed)`);
      return;
    }
    this.count(`${app}: ${how} UNEXPLAINED`);
    this.unexplainedCount += 1;
    if (this.unexplained.length >= KEPT) return;
    const before = this.blows.filter((blow) => blow.at >= began - 2 * LATE).map((blow) => `${now - blow.at} ms before: ${blow.what}`);
    this.unexplained.push({ at: new Date(now).toISOString(), what: how, app, took: now - began, before });
  }
}

/** What a client may see of a worker that ended while it had the request. */
export function isOfADeadWorker(how: string): boolean {
  return how === "502 worker_died" || how.startsWith("broke off after 200");
}
