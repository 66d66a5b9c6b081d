// A tenant that misbehaves: many integrations, large events, floods.
import assert from 'node:assert/strict';
import http from 'node:http';
import { eventually, inParallel } from './wait.mjs';
import { newOrg, newProduct, newUser } from './world.mjs';

/** A destination that reads what comes and keeps nothing of it. `answer` is a status, or 'hang'. */
export class Sink {
  requests = 0;
  bytes = 0;

  static async start(t, answer = 200) {
    const sink = new Sink();
    const server = http.createServer({ keepAliveTimeout: 30_000 }, (req, res) => {
      req.on('data', (chunk) => { sink.bytes += chunk.length; });
      req.on('error', () => {});
      req.on('end', () => {
        sink.requests += 1;
        if (answer !== 'hang') res.writeHead(answer, { 'content-length': 0 }).end();
      });
    });
    server.on('clientError', (_error, socket) => socket.destroy());
    await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
    t.after(() => new Promise((resolve) => {
      server.close(resolve);
      server.closeAllConnections();
    }));
    sink.url = `http://127.0.0.1:${server.address().port}/`;
    return sink;
  }

  /** Waits for so many requests. */
  got(count, within = 30_000) {
    return eventually(() => assert.ok(this.requests >= count, `${this.requests} of ${count} requests`), { within, every: 10 });
  }
}

/** Events as one NDJSON batch, made once. */
export function batch(count, data, name = 'e') {
  const line = (n) => JSON.stringify({ name, data: typeof data === 'function' ? data(n) : data });
  const body = Buffer.from(Array.from({ length: count }, (_, n) => line(n)).join('\n'));
  return { body, count };
}

export class Tenant {
  accepted = 0;
  refused = 0;
  integrations = [];

  static async start(server) {
    const tenant = new Tenant();
    tenant.user = await newUser(server.base);
    tenant.api = tenant.user.api;
    tenant.org = await newOrg(tenant.user);
    tenant.product = await newProduct(tenant.user, tenant.org);
    return tenant;
  }

  /** Makes `count` integrations of the product, or what can be made in `within` ms; one that a bound refuses is none. */
  async hook(config, count = 1, within = 60_000) {
    const end = performance.now() + within;
    const made = { event: 'e', noDefaults: true, ...config, product_ids: [this.product.id] };
    await inParallel(Array(count).keys(), 4, async (n) => {
      if (performance.now() > end) return;
      const json = { ...made, name: `hook ${n}` };
      const got = await this.api.req('POST', `${this.org.scope}/integrations`, { json });
      if (got.status === 201) this.integrations.push(got.body.id);
      else assert.ok([400, 429, 503].includes(got.status), `${got.status} ${got.text.slice(0, 200)}`);
    });
  }

  /** Publishes a batch; a server may refuse it, or a part of it. */
  async publish({ body, count }, product = this.product) {
    const headers = { 'content-type': 'application/x-ndjson' };
    const got = await this.api.req('POST', `${product.scope}/events/batch`, { body, headers });
    const all = got.status === 200 && got.body?.ok === true;
    const good = all ? count : (got.body?.results ?? []).filter((one) => one.ok).length;
    if (good < count) assert.ok([200, 429, 503].includes(got.status), `${got.status} ${got.text.slice(0, 200)}`);
    this.accepted += good;
    this.refused += count - good;
    return got.status;
  }

  /** Publishes batches over two connections for so long. */
  async flood(what, ms) {
    const end = performance.now() + ms;
    const one = async () => { while (performance.now() < end) await this.publish(what); };
    await Promise.all([one(), one()]);
  }

  /** What the history counts of all integrations together. */
  async counted() {
    const sum = { success: 0, error: 0, skipped: 0, all: 0 };
    await inParallel(this.integrations, 4, async (id) => {
      const { total } = await this.api.history(this.org.scope, id);
      for (const key of ['success', 'error', 'skipped']) {
        sum[key] += total[key];
        sum.all += total[key];
      }
    });
    return sum;
  }

  /** Waits until each event that was accepted has one outcome for each integration. */
  settled(within = 40_000) {
    const expected = this.accepted * this.integrations.length;
    return eventually(async () => {
      const sum = await this.counted();
      assert.equal(sum.all, expected, `outcomes of the one who misbehaves: ${JSON.stringify(sum)}`);
      return sum;
    }, { within, every: 300 });
  }
}
