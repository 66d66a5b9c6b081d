// What a crash of the machine can do to the files of a server that is not running.
import { appendFileSync, readFileSync, statSync, truncateSync } from 'node:fs';
import path from 'node:path';

/** SQLite's write-ahead log: a header, then pages with a header each. */
const LOG_HEADER = 32;
const PAGE_HEADER = 24;

/** The write-ahead log of the database `name` in the folder, as it is now. */
export class LogFile {
  constructor(folder, name) { this.file = path.join(folder, `${name}-wal`); }

  get size() { return statSync(this.file, { throwIfNoEntry: false })?.size ?? 0; }

  get pageBytes() { return PAGE_HEADER + readFileSync(this.file).readUInt32BE(8); }

  /**
   * Where its last page ends that belongs to the present pass: a page carries the two salts of the header, and what an
   * earlier pass left behind carries others.
   */
  get end() {
    const bytes = readFileSync(this.file);
    const page = PAGE_HEADER + bytes.readUInt32BE(8);
    let end = LOG_HEADER;
    while (end + page <= bytes.length && bytes.compare(bytes, 16, 24, end + 8, end + 16) === 0) end += page;
    return end;
  }

  /** Cuts it to `size` bytes. */
  cut(size) { truncateSync(this.file, size); }

  /** A write that was under way: a page that was begun like the last one and ends in the middle, with wrong bytes. */
  tear(random) {
    const bytes = readFileSync(this.file);
    const last = Buffer.from(bytes.subarray(bytes.length - this.pageBytes));
    const torn = last.subarray(0, random.between(1, last.length - 1));
    for (let at = PAGE_HEADER; at < torn.length; at += 97) torn[at] ^= 0xff;
    appendFileSync(this.file, torn);
  }
}
