// Waiting for a condition, with a bound.
import { setTimeout as pause } from 'node:timers/promises';

/** Repeats `check` until it no longer throws and gives its result; after `within` ms throws its last error. */
export async function eventually(check, { within = 10_000, every = 100 } = {}) {
  const end = Date.now() + within;
  for (;;) {
    try {
      return await check();
    } catch (error) {
      if (Date.now() >= end) throw error;
    }
    await pause(every);
  }
}

/** Runs `work(item)` for every item, at most `width` at a time. */
export async function inParallel(items, width, work) {
  const queue = items[Symbol.iterator]();
  const worker = async () => {
    for (let next = queue.next(); !next.done; next = queue.next()) await work(next.value);
  };
  await Promise.all(Array.from({ length: width }, worker));
}
