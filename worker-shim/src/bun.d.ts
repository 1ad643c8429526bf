/** What Bun has and its type package leaves out. */

interface Buffer {
  /** `bytes[start..end)` as a string, one character a byte. */
  latin1Slice(start: number, end: number): string;
  /** `bytes[start..end)` as UTF-8. */
  utf8Slice(start: number, end: number): string;
  /** Writes the low byte of each character at `offset`; returns the number of bytes. */
  latin1Write(text: string, offset: number): number;
  /** Writes UTF-8 at `offset`; returns the number of bytes. */
  utf8Write(text: string, offset: number): number;
}

interface Blob {
  /** A promise for a file, undefined for what is in memory. */
  stat(): Promise<import("node:fs").Stats> | undefined;
}

declare module "bun" {
  interface FdSocketOptions {
    /** An open, connected socket that was inherited. */
    fd: number;
    socket: SocketHandler<undefined>;
  }
  function connect(options: FdSocketOptions): Promise<Socket<undefined>>;
}
