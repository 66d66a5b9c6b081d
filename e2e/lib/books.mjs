// One product with one webhook on a destination that always answers 200: the smallest set-up in which it can be said
// what was lost and what was counted.
import assert from 'node:assert/strict';
import { request } from './api.mjs';
import { Sent, Arrivals, assertArrived, counted, pending } from './tally.mjs';
import { eventually } from './wait.mjs';
import { newOrg, newProduct, newUser } from './world.mjs';

const EVENT = 'reading';

export class Books {
  /** `rule` is how the destination answers: a function as for `Receiver.on` that is given the arrivals first. */
  static async start(base, receiver, rule) {
    const books = new Books();
    books.arrivals = new Arrivals();
    books.user = await newUser(base);
    books.api = books.user.api;
    books.org = await newOrg(books.user);
    books.product = await newProduct(books.user, books.org);
    books.sent = new Sent(books.product);
    const steady = books.arrivals.steady('/reading');
    const url = receiver.on('/reading', rule ? (req, nth) => rule(steady, req, nth) : steady);
    const config = { event: EVENT, url, json: { id: '{{id}}', product: '{{PRODUCT_ID}}' }, noDefaults: true };
    const body = { ...config, product_ids: [books.product.id] };
    books.integration = await books.api.want(201, 'POST', `${books.org.scope}/integrations`, body);
    return books;
  }

  get seen() { return this.arrivals.of('/reading', this.product.id); }

  /**
   * Publishes `count` readings with `padding` more bytes each, one by one or as a batch; gives the status, 0 when no
   * answer came. A refused reading is never sent again under the same id.
   */
  async publish(count = 1, padding = 0) {
    const ids = Array.from({ length: count }, () => this.sent.id());
    const event = (id) => ({ name: EVENT, data: JSON.stringify({ id, padding: 'x'.repeat(padding) }) });
    const scope = `${this.product.scope}/events`;
    const body = ids.map((id) => JSON.stringify(event(id))).join('\n');
    const batch = { body, headers: { 'content-type': 'application/x-ndjson' } };
    let answer;
    try {
      answer = count === 1
        ? await this.api.req('POST', scope, { json: event(ids[0]) })
        : await this.api.req('POST', `${scope}/batch`, batch);
    } catch {
      for (const id of ids) this.sent.unanswered.add(id);
      return 0;
    }
    if (answer.status === 200) {
      assert.equal(answer.body?.ok, true, answer.text.slice(0, 300));
      for (const id of ids) this.sent.accepted.add(id);
    } else {
      this.sent.refused += ids.length;
    }
    return answer.status;
  }

  /** Waits until nothing is pending and the history says what arrived: every reading a success. */
  async settled(within = 30_000) {
    await eventually(async () => {
      assert.equal(await pending(this.api), 0, 'deliveries still wait');
      await this.agree();
    }, { within, every: 200 });
  }

  /** The same where others' deliveries may wait. */
  arrivedAndCounted(within = 30_000) { return eventually(() => this.agree(), { within, every: 200 }); }

  /** Throws unless what was accepted, what arrived and what the history counts are the same. */
  async agree() {
    assertArrived(this.sent, this.seen, 'at the destination');
    const sum = await counted(this.api, this.org.scope, [this.integration.id], this.product.id);
    const all = this.seen.size;
    assert.deepEqual(sum, { success: all, error: 0, skipped: 0, all }, 'the history counts what arrived');
  }
}

/** Whether the server says that it can store events. */
export async function isReady(base) { return (await request(base, 'GET', '/ready')).status === 200; }
