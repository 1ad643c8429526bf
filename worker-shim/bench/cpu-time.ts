import fs from "node:fs";

/** CPU time of a process so far, in microseconds. */
export function cpu(pid: number): number {
  let total = 0;
  for (const task of fs.readdirSync(`/proc/${pid}/task`)) {
    try {
      total += Number(fs.readFileSync(`/proc/${pid}/task/${task}/schedstat`, "utf8").split(" ")[0]) / 1000;
    } catch {
      // The thread has ended.
    }
  }
  return total;
}
