/** Offers a service to other plugins: counts by name. */
import type { Plugin } from "../../../worker-shim/types/plugin.d.ts";

const counts = new Map<string, number>();

export default {
  services: {
    counter: {
      next(name: string): number {
        const count = (counts.get(name) ?? 0) + 1;
        counts.set(name, count);
        return count;
      },
      all: () => Object.fromEntries(counts),
    },
  },
} satisfies Plugin;
