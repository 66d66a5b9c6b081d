// Chance that can be repeated: the same seed gives the same choices.

/** A generator of 32-bit choices (mulberry32). */
export class Random {
  #state;

  constructor(seed) { this.#state = seed >>> 0; }

  /** A number from 0 up to, but not including, 1. */
  next() {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  /** A whole number from `low` to `high`, both included. */
  between(low, high) { return low + Math.floor(this.next() * (high - low + 1)); }

  /** One of the items. */
  of(items) { return items[this.between(0, items.length - 1)]; }

  /** True in `share` of the cases. */
  chance(share) { return this.next() < share; }

  /** A generator of its own, so that two who run at the same time do not take each other's choices. */
  fork() { return new Random(Math.floor(this.next() * 2 ** 32)); }
}

/** A number from 0 to 99 that depends on the text alone. */
export function percent(text) {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i += 1) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193) >>> 0;
  return (hash ^ (hash >>> 15)) % 100;
}
