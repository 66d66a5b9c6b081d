// The crash harness: load, changes of the configuration, SIGKILL at a moment chosen by chance, a new start on the same
// data, and the books compared. The same seed makes the same choices; what they meet depends on the machine.
import assert from 'node:assert/strict';
import { setTimeout as pause } from 'node:timers/promises';
import { Random } from './random.mjs';
import { Receiver } from './receiver.mjs';
import { LOOPBACK, Server } from './server.mjs';
import { choose, shapeOf, text } from './shape.mjs';
import { Arrivals, Sent, assertArrived, counted, pending } from './tally.mjs';
import { eventually } from './wait.mjs';
import { newOrg, newProduct, newUser } from './world.mjs';

const ENV = {
  ...LOOPBACK,
  TRIBUTARY_DELIVERY__RETRY_DELAYS: '200ms,500ms',
  TRIBUTARY_DELIVERY__TIMEOUT: '1s',
  TRIBUTARY_LOG__LEVEL: 'warn',
};
const EVENT = 'reading';
/** Longest time that a process works before it is killed, and longest that one is let start, in milliseconds. */
const WORK_MS = 1_200;
const START_MS = 150;
/** Readings of one product in one cycle, at most: what is not delivered in a cycle adds up until the end. */
const READINGS = 600;
const BATCH = 30;
/** Share of the cycles in which the process is killed while it starts, and in which a destination fails whole. */
const KILLED_EARLY = 0.25;
const DOWN = 0.2;
/** Until everything is delivered or given up, in milliseconds. */
const SETTLE_MS = 60_000;

export class Soak {
  /** Starts the server and the destinations; `t.after` gets what must be done at the end. */
  static async start(t, seed, env = {}) {
    const soak = new Soak();
    soak.random = new Random(seed);
    soak.arrivals = new Arrivals();
    soak.server = await Server.start(t, { ...ENV, ...env });
    const [steady, moody] = [await Receiver.start(t), await Receiver.start(t)];
    soak.receivers = [steady, moody];
    await soak.#configure(steady, moody);
    soak.allowed = [await soak.#shape()];
    soak.totals = { cycles: 0, early: 0, changes: 0, unanswered: 0 };
    return soak;
  }

  async #configure(steady, moody) {
    this.user = await newUser(this.server.base);
    this.api = this.user.api;
    this.org = await newOrg(this.user);
    this.products = [];
    for (let i = 0; i < 4; i += 1) this.products.push(await newProduct(this.user, this.org));
    this.sent = this.products.map((product) => new Sent(product));
    const [host, , , visitor] = this.products.map((product) => product.id);
    const config = (receiver, rule, path) => ({
      event: EVENT, url: receiver.on(path, this.arrivals[rule](path)),
      json: { id: '{{id}}', product: '{{PRODUCT_ID}}' }, noDefaults: true,
    });
    const on = (path) => config(steady, 'steady', path);
    this.world = {
      org: this.org.scope, host, visitor, shared: on('/shared'), guest: on('/guest'), temporary: on('/temporary'),
    };
    const all = this.products.map((product) => product.id);
    const make = (name, body, products) =>
      this.api.want(201, 'POST', `${this.org.scope}/integrations`, { ...body, name, product_ids: products });
    await make('shared', this.world.shared, all.slice(0, 3));
    await make('single', on('/single'), [visitor]);
    await make('guest', this.world.guest, [host]);
    await make('moody', config(moody, 'moody', '/moody'), all);
  }

  async #integrations() { return this.api.want(200, 'GET', `${this.org.scope}/integrations`); }
  async #shape() { return shapeOf(await this.#integrations()); }

  /** One life of the process, from a kill to the next; gives a line that says what happened. */
  async cycle() {
    const { random, arrivals } = this;
    arrivals.down = random.chance(DOWN);
    for (const receiver of this.receivers) receiver.requests.length = 0;
    this.totals.cycles += 1;
    const notes = [];
    if (random.chance(KILLED_EARLY)) {
      // Two starts: the first one is killed before, or just after, it serves.
      const early = random.between(1, START_MS);
      await this.server.kill('SIGKILL');
      this.server.begin();
      await pause(early);
      await this.server.kill('SIGKILL');
      await this.server.restart();
      await this.#assertShape();
      this.totals.early += 1;
      notes.push(`killed ${early} ms after a start`);
    }
    const before = this.#count();
    const publishing = this.sent.map((sent) => this.#publish(sent, random.fork()));
    const working = Promise.all([...publishing, this.#operate(random.fork(), notes)]);
    working.catch(() => {}); // told when it is waited for
    const ms = random.between(20, WORK_MS);
    await pause(ms);
    const { signal } = await this.server.kill('SIGKILL');
    assert.equal(signal, 'SIGKILL', 'the process was there until it was killed');
    await working;
    const started = Date.now();
    await this.server.restart();
    const ready = Date.now() - started;
    await this.#assertShape();
    const now = this.#count();
    notes.unshift(`${now.accepted - before.accepted} accepted, ${now.unanswered - before.unanswered} unanswered`);
    if (arrivals.down) notes.push('a destination was down');
    return `killed after ${String(ms).padStart(4)} ms, ready in ${ready} ms: ${notes.join('; ')}`;
  }

  #count() {
    const sum = (of) => this.sent.reduce((total, sent) => total + of(sent), 0);
    return { accepted: sum((sent) => sent.accepted.size), unanswered: sum((sent) => sent.unanswered.size) };
  }

  /** Publishes readings of a product, one by one and in batches, until no answer comes or the cycle's are sent. */
  async #publish(sent, random) {
    let left = READINGS;
    const scope = `${sent.product.scope}/events`;
    for (let answered = true; answered && left > 0;) {
      const count = random.chance(0.7) ? 1 : random.between(2, BATCH);
      const ids = Array.from({ length: count }, () => sent.id());
      const event = (id) => ({ name: EVENT, data: JSON.stringify({ id }) });
      const single = { json: event(ids[0]) };
      const body = ids.map((id) => JSON.stringify(event(id))).join('\n');
      const batch = { body, headers: { 'content-type': 'application/x-ndjson' } };
      answered = await this.#send(sent, ids, count === 1 ? [scope, single] : [`${scope}/batch`, batch]);
      left -= count;
      await pause(random.between(0, 8));
    }
  }

  /** False when no answer came. */
  async #send(sent, ids, [path, options]) {
    let answer;
    try {
      answer = await this.api.req('POST', path, options);
    } catch {
      for (const id of ids) sent.unanswered.add(id);
      return false;
    }
    assert.equal(answer.status, 200, `a publish answered ${answer.status}: ${answer.text.slice(0, 300)}`);
    assert.equal(answer.body?.ok, true, answer.text.slice(0, 300));
    for (const id of ids) sent.accepted.add(id);
    return true;
  }

  /** Changes the configuration until no answer comes, at most three times. */
  async #operate(random, notes) {
    for (let i = 0; i < 3; i += 1) {
      const label = `${this.totals.cycles}.${i}`;
      const { name, call: [method, path, body], after } = choose(this.allowed[0], this.world, random, label);
      await pause(random.between(0, 250));
      let answer;
      this.totals.changes += 1;
      try {
        answer = await this.api.req(method, path, { json: body });
      } catch {
        this.allowed = [this.allowed[0], after];
        this.totals.unanswered += 1;
        notes.push(`${name} unanswered`);
        return;
      }
      assert.ok(answer.status < 300, `${name} answered ${answer.status}: ${answer.text.slice(0, 300)}`);
      notes.push(name);
      this.allowed = [after];
      try {
        this.allowed = [this.#assertOneOf(await this.#shape())];
      } catch (error) {
        if (error instanceof assert.AssertionError) throw error;
        return; // killed meanwhile: the next start shows the shape
      }
    }
  }

  /** After a start: what was answered is there, what was not is there whole or not at all. */
  async #assertShape() { this.allowed = [this.#assertOneOf(await this.#shape())]; }

  #assertOneOf(shape) {
    const [found, allowed] = [text(shape), this.allowed.map(text)];
    if (!allowed.includes(found)) {
      const message = `the configuration is\n${found}\nand must be\n${allowed.join('\nor\n')}`;
      throw Object.assign(new assert.AssertionError({ message }), { shape });
    }
    return shape;
  }

  /** Waits until nothing is pending, and compares the books; gives them as rows of a table. */
  async settle() {
    this.arrivals.down = false;
    await eventually(async () => {
      assert.equal(await pending(this.api), 0, 'deliveries still wait');
      await this.#compare();
    }, { within: SETTLE_MS, every: 250 });
    return this.#compare();
  }

  async #compare() {
    const integrations = await this.#integrations();
    const ids = (path) => shapeOf(integrations).filter((one) => one.path === path).map((one) => one.id);
    const rows = [];
    for (const sent of this.sent) {
      const product = sent.product.id;
      const row = { product, accepted: sent.accepted.size, unanswered: sent.unanswered.size };
      const witness = product === this.world.visitor ? '/single' : '/shared';
      const seen = this.arrivals.of(witness, product);
      assertArrived(sent, seen, `product ${product} at ${witness}`);
      const sum = (path) => counted(this.api, this.org.scope, ids(path), product);
      const steady = await sum(witness);
      const expected = { success: seen.size, error: 0, skipped: 0, all: seen.size };
      assert.deepEqual(steady, expected, `history of product ${product} at ${witness}`);
      Object.assign(row, await this.#moody(product, seen, await sum('/moody')), { arrived: seen.size });
      await this.#guest(product, seen, await sum('/guest'));
      rows.push(row);
    }
    for (const one of integrations) await this.#assertLogIsSingle(one.id);
    return rows;
  }

  /** The destination that fails at times: each accepted reading ended there in exactly one way. */
  async #moody(product, seen, sum) {
    const hits = [...this.arrivals.of('/moody', product).values()];
    const good = hits.filter((hit) => hit.good > 0).length;
    assert.equal(sum.all, seen.size, `success + error + skipped of product ${product} at /moody: ${JSON.stringify(sum)}`);
    assert.ok(sum.success <= good, `${sum.success} successes counted, ${good} readings answered 200`);
    const { success, error, skipped } = sum;
    return { success, error, skipped, retried: hits.filter((hit) => hit.hits > 1).length };
  }

  /** The integration that the visitor joins and leaves: exact for the host, bounded for the visitor. */
  async #guest(product, seen, sum) {
    const arrived = this.arrivals.of('/guest', product);
    const strangers = [...arrived.keys()].filter((id) => !seen.has(id));
    assert.deepEqual(strangers, [], `product ${product} at /guest`);
    if (product === this.world.host) assert.equal(sum.success, seen.size, 'history of the host at /guest');
    else assert.ok(sum.all <= seen.size, `${sum.all} outcomes of at most ${seen.size} readings at /guest`);
  }

  /** One row per delivery: no reading of a product stands twice in the log of an integration. */
  async #assertLogIsSingle(id) {
    const { logs } = await this.api.integration(this.org.scope, id);
    const entries = Object.values(logs).flat();
    const keys = entries.map((entry) => `${entry.product_id} ${entry.event.data}`);
    assert.equal(new Set(keys).size, keys.length, `a reading stands twice in the log of ${id}`);
  }
}
