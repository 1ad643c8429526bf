/** The page of memory that tells the supervisor, even after a SIGKILL, which requests the app has seen. */
const PAGE_FD = 4;
const PAGE_BYTES = 4096;
const MAGIC = 0x42544d31;

export class ProgressPage {
  private constructor(private readonly words: Uint32Array) {}

  /**
   * Maps the inherited page; without one the supervisor counts every request as started. The descriptor stays
   * open: `node:fs`, which could close it, is a third of a spare's start, and Bun hands it to no child.
   */
  static map(): { page: ProgressPage; mapped: boolean } {
    try {
      const bytes = Bun.mmap(`/proc/self/fd/${PAGE_FD}`, { shared: true, size: PAGE_BYTES });
      const words = new Uint32Array(bytes.buffer, bytes.byteOffset, PAGE_BYTES / 4);
      words[0] = MAGIC;
      return { page: new ProgressPage(words), mapped: true };
    } catch {
      return { page: ProgressPage.scratch(), mapped: false };
    }
  }

  /** A page that nobody reads. */
  static scratch(): ProgressPage {
    return new ProgressPage(new Uint32Array(5));
  }

  /** What READY says, for a supervisor that it does not reach because the first request does not come back. */
  loaded(hooks: number, maxRequestBodySize: number | null): void {
    const { words } = this;
    words[2] = hooks;
    // Any number that is there is far below this one.
    const size = maxRequestBodySize ?? Number.MAX_SAFE_INTEGER;
    words[3] = size % 2 ** 32;
    words[4] = size / 2 ** 32;
  }

  /** To be called right before a request is handed to the app. */
  started(stream: number): void {
    this.words[1] = stream;
  }
}
