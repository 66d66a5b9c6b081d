// What was published and what arrived, and whether the history says the same.
//
// Every reading of a product fires a *witness* (a destination that always answers 200) and others that do not. An
// attempt answered 200 was accepted; one without an answer may have been. So the readings that reached the witness are
// the readings that were accepted, no more and no less, and every other integration that ran on the product all the
// time must have counted exactly as many outcomes.
import assert from 'node:assert/strict';
import { percent } from './random.mjs';

/** Of a hundred readings at the moody destination: so many are refused for good, fail once, and hang once. */
const REFUSED = 4;
const FAILS_ONCE = 14;
const HANGS_ONCE = 2;

/** Everything that was sent for one product. */
export class Sent {
  accepted = new Set();
  unanswered = new Set();
  refused = 0;
  #next = 0;

  constructor(product) { this.product = product; }

  id() {
    this.#next += 1;
    return this.last;
  }

  /** The id that was given last. */
  get last() { return `${this.product.id}-${this.#next}`; }
}

/** What arrived at the paths of the receivers: `of(path, product)` is a map from id to `{hits, good}`. */
export class Arrivals {
  #byPath = new Map();
  /** While true the moody destination fails whatever it gets. */
  down = false;

  of(path, product) {
    const products = this.#byPath.get(path) ?? new Map();
    this.#byPath.set(path, products);
    const ids = products.get(product) ?? new Map();
    products.set(product, ids);
    return ids;
  }

  /** A rule for `Receiver.on`: notes the request and answers 200. */
  steady(path) {
    return (request) => {
      const hit = this.#note(path, request);
      hit.good += 1;
      return {};
    };
  }

  /** A rule that refuses, fails or hangs, depending on the reading. */
  moody(path) {
    return (request) => {
      const hit = this.#note(path, request);
      const kind = percent(hit.id);
      if (this.down) return { status: 500 };
      if (kind < REFUSED) return { status: 404 };
      if (hit.hits === 1 && kind < REFUSED + FAILS_ONCE) return { status: 500 };
      if (hit.hits === 1 && kind < REFUSED + FAILS_ONCE + HANGS_ONCE) return 'hang';
      hit.good += 1;
      return {};
    };
  }

  #note(path, request) {
    const { id, product } = JSON.parse(request.text);
    const ids = this.of(path, Number(product));
    const hit = ids.get(id) ?? { id, hits: 0, good: 0 };
    ids.set(id, hit);
    hit.hits += 1;
    return hit;
  }
}

/** Throws unless each accepted reading reached `seen`, and nothing else did. */
export function assertArrived(sent, seen, label) {
  const lost = [...sent.accepted].filter((id) => !seen.has(id));
  assert.equal(lost.length, 0, `${label}: ${lost.length} accepted readings have not arrived: ${lost.slice(0, 5)}`);
  const strangers = [...seen.keys()].filter((id) => !sent.accepted.has(id) && !sent.unanswered.has(id));
  assert.deepEqual(strangers, [], `${label}: only what was sent and not refused arrives`);
}

/** The sum of a product's history over these integrations: `{success, error, skipped, all}`; no day may come twice. */
export async function counted(api, scope, ids, product) {
  const sum = { success: 0, error: 0, skipped: 0 };
  for (const id of ids) {
    const { history } = await api.want(200, 'GET', `${scope}/integrations/${id}/history?days=30`);
    for (const { days } of history.products.filter((one) => one.id === product)) {
      assert.equal(new Set(days.map((day) => day.date)).size, days.length, `a day of ${id} comes twice`);
      for (const day of days) for (const key of Object.keys(sum)) sum[key] += day[key] ?? 0;
    }
  }
  return { ...sum, all: sum.success + sum.error + sum.skipped };
}

/** Deliveries that wait in the pending table. */
export async function pending(api) {
  const { text } = await api.req('GET', '/metrics');
  return Number(/^tributary_pending (\d+)$/m.exec(text)?.[1] ?? Number.NaN);
}
