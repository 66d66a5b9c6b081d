// A tenant that minds its own business while another one misbehaves: an event every tenth of a second to a destination
// that always answers. How long each takes until it arrives, and what the history says of them in the end.
import assert from 'node:assert/strict';
import { setTimeout as pause } from 'node:timers/promises';
import { Books } from './books.mjs';
import { Receiver } from './receiver.mjs';

/** Between two events, in milliseconds. */
const EVERY_MS = 100;
/** How long the last ones are waited for. */
const ARRIVE_MS = 20_000;
/** Events that may be on their way at once; a server that stands still is not given more. */
const MOST_UNDER_WAY = 50;

export class Neighbour {
  #begun = new Map();
  #took = new Map();

  static async start(t, server) {
    const neighbour = new Neighbour();
    const receiver = await Receiver.start(t);
    neighbour.books = await Books.start(server.base, receiver, (steady, request) => {
      neighbour.#arrived(JSON.parse(request.text).id);
      receiver.requests.length = 0; // the books have it
      return steady(request);
    });
    return neighbour;
  }

  get api() { return this.books.api; }

  #arrived(id) {
    const begun = this.#begun.get(id);
    if (begun !== undefined && !this.#took.has(id)) this.#took.set(id, performance.now() - begun);
  }

  /** Sends events until `work` has ended, and waits for the last answer. */
  async during(work) {
    let [ended, wrong] = [false];
    Promise.resolve(work()).catch((error) => { wrong = error; }).finally(() => { ended = true; });
    const sent = [];
    while (!ended) {
      if (this.#begun.size - this.#took.size < MOST_UNDER_WAY) sent.push(this.#send());
      await pause(EVERY_MS);
    }
    await Promise.all(sent);
    if (wrong) throw wrong;
  }

  async #send() {
    // The id is given inside of `publish`, before anything is awaited.
    const before = performance.now();
    const published = this.books.publish();
    this.#begun.set(this.books.sent.last, before);
    await published;
  }

  /** Waits until what was accepted has arrived, or for `within` ms. */
  async arrived(within = ARRIVE_MS) {
    const end = performance.now() + within;
    while (this.missing() > 0 && performance.now() < end) await pause(20);
  }

  /** Accepted events that have not arrived. */
  missing() { return [...this.books.sent.accepted].filter((id) => !this.#took.has(id)).length; }

  /** `{events, p50, p99, worst}` in milliseconds; one that has not arrived counts as having taken until now. */
  figures() {
    const now = performance.now();
    const took = [...this.#begun].map(([id, begun]) => this.#took.get(id) ?? now - begun).sort((a, b) => a - b);
    const at = (share) => Math.round(took[Math.max(0, Math.ceil(took.length * share) - 1)] ?? 0);
    return { events: took.length, p50: at(0.5), p99: at(0.99), worst: at(1) };
  }

  /** Every event that was accepted arrived and was counted once, and none was refused. */
  async settled() {
    assert.equal(this.books.sent.refused, 0, 'the neighbour is refused nothing');
    await this.books.arrivedAndCounted();
  }
}
