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
    return new ProgressPage(new Uint32Array(2));
  }

  /** To be called right before a request is handed to the app. */
  started(stream: number): void {
    this.words[1] = stream;
  }
}
