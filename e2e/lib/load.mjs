// Publishing many readings and keeping account of what was answered and what arrived.
import assert from 'node:assert/strict';
import { inParallel } from './wait.mjs';

/**
 * What one product sent. Every attempt carries an id of its own, so a reading sent again after a lost answer can be
 * told from the first try, and the number of accepted events can be counted at the receiver.
 */
export class Ledger {
  /** Ids of the attempts that were answered 200. */
  accepted = new Set();
  /** Ids of the attempts whose answer never came: accepted or not, nobody knows. */
  unanswered = new Set();
  #attempts = 0;

  constructor(product) { this.product = product; }

  next() {
    this.#attempts += 1;
    return `${this.product.id}-${this.#attempts}`;
  }
}

/** Publishes one reading through the public client; true = answered 200. */
export async function publishOne(user, event, ledger) {
  const id = ledger.next();
  try {
    await user.js.publishEvent({ name: event, data: JSON.stringify({ id }), product: ledger.product.id });
  } catch (error) {
    // A 200 that broke off after its head is no answer either.
    const lost = error.statusCode === undefined || error.statusCode === 200;
    if (lost) ledger.unanswered.add(id);
    else assert.equal(error.statusCode, 503, `a publish was refused: ${error.message}`);
    return false;
  }
  ledger.accepted.add(id);
  return true;
}

/** Publishes `count` readings as one NDJSON batch; gives how many of them were accepted. */
export async function publishBatch(user, event, ledger, count) {
  const ids = Array.from({ length: count }, () => ledger.next());
  const body = ids.map((id) => JSON.stringify({ name: event, data: JSON.stringify({ id }) })).join('\n');
  const headers = { 'content-type': 'application/x-ndjson' };
  let answer;
  try {
    answer = await user.api.req('POST', `${ledger.product.scope}/events/batch`, { body, headers });
  } catch {
    for (const id of ids) ledger.unanswered.add(id);
    return 0;
  }
  if (answer.status === 503) return 0;
  assert.equal(answer.status, 200, `a batch answered ${answer.status}: ${answer.text.slice(0, 300)}`);
  assert.equal(answer.body.results.length, count, 'one result for each line');
  const good = ids.filter((_id, line) => answer.body.results[line].ok);
  assert.equal(answer.body.ok, good.length === count, '`ok` says whether every line was accepted');
  for (const id of good) ledger.accepted.add(id);
  return good.length;
}

/** Publishes until `goal` readings of the product were accepted: `singles` of them one by one, the rest in batches. */
export async function publishUntil(user, event, ledger, goal, { singles = 200, batch = 50, width = 4 } = {}) {
  const oneByOne = Math.min(singles, goal - ledger.accepted.size);
  await inParallel(Array(Math.max(0, oneByOne)).keys(), width, () => publishOne(user, event, ledger));
  while (ledger.accepted.size < goal) {
    const before = ledger.accepted.size;
    await publishBatch(user, event, ledger, Math.min(batch, goal - before));
    assert.ok(ledger.accepted.size > before, 'the server accepts events again');
  }
}

/** Ids of the product's readings that reached `path`, each once. */
export function arrived(receiver, path, product) {
  const ids = receiver.at(path).map((request) => JSON.parse(request.text));
  return new Set(ids.filter((hit) => Number(hit.product) === product.id).map((hit) => hit.id));
}

/** Throws unless what was accepted, what arrived and what the history counts agree for the product. */
export function assertSettled({ ledger, seen, counted }) {
  const { product } = ledger;
  const lost = [...ledger.accepted].filter((id) => !seen.has(id));
  assert.equal(lost.length, 0, `${lost.length} accepted events of product ${product.id} have not arrived: ${lost.slice(0, 5)}`);
  const strangers = [...seen].filter((id) => !ledger.accepted.has(id) && !ledger.unanswered.has(id));
  assert.deepEqual(strangers, [], 'only what was sent and not refused arrives');
  assert.deepEqual(counted, { success: seen.size, error: 0, skipped: 0 }, `history of product ${product.id}`);
}
