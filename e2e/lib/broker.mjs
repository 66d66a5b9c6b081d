// Ten thousand events through an integration of a broker's kind, and what the books say of them.
import assert from 'node:assert/strict';
import { setTimeout as pause } from 'node:timers/promises';
import { LOOPBACK, Server } from './server.mjs';
import { pending } from './tally.mjs';
import { eventually } from './wait.mjs';
import { newOrg, newProduct, newUser, unique } from './world.mjs';

const BATCH = 1_000;
/** How long a peer is away in the middle of a test, in milliseconds. */
const OUTAGE_MS = Number(process.env.TRIBUTARY_E2E_OUTAGE_MS ?? 30_000);
/** Delays that span an outage, and the sleep of the destination after it. */
const ENV = { ...LOOPBACK, TRIBUTARY_DELIVERY__RETRY_DELAYS: '1s,2s,4s,8s,10s,10s,10s,10s' };
/** How long a test with an outage may take, in milliseconds. */
export const WITH_OUTAGE_MS = OUTAGE_MS + 120_000;
/** How long after an outage all must have arrived, in milliseconds. */
export const AFTER_OUTAGE_MS = 90_000;

/** Lasts as long as a peer is away: an outage has no sign of its own to wait for. */
export const outage = () => pause(OUTAGE_MS);

/**
 * A server with a product; `env` has more of its settings. `share(config)` makes an integration of it, `publish(event, from, to, data, more)`
 * sends readings in batches; `more(n)` has more fields of the n-th event.
 */
export async function scene(t, env = {}) {
  const server = await Server.start(t, { ...ENV, ...env });
  const user = await newUser(server.base);
  const org = await newOrg(user);
  const product = await newProduct(user, org);
  const share = (config) => user.api.want(201, 'POST', `${org.scope}/integrations`, {
    event: `reading-${unique()}`, ...config, product_ids: [product.id],
  });
  const publish = async (event, from, to, data = (n) => ({ n }), more = () => ({})) => {
    for (let first = from; first < to; first += BATCH) {
      const line = (_, n) => JSON.stringify({ name: event, data: JSON.stringify(data(first + n)), ...more(first + n) });
      const body = Array.from({ length: Math.min(BATCH, to - first) }, line).join('\n');
      const headers = { 'content-type': 'application/x-ndjson' };
      const answer = await user.api.req('POST', `${product.scope}/events/batch`, { body, headers });
      assert.equal(answer.body?.ok, true, answer.text.slice(0, 300));
    }
  };
  return { server, user, org, product, share, publish };
}

/** Waits until `numbers()` has each of 0 … `count` - 1 and the history counts each as a success, and as nothing else. */
export async function allArrived({ user, org }, integration, count, numbers, within = 30_000) {
  await eventually(async () => {
    assert.equal(await pending(user.api), 0, 'deliveries still wait');
    const { total } = await user.api.history(org.scope, integration.id);
    assert.deepEqual(total, { success: count, error: 0, skipped: 0 });
  }, { within, every: 200 });
  await eventually(() => {
    const seen = new Set(numbers());
    assert.equal(seen.size, count, `${count - seen.size} readings have not arrived`);
  }, { within });
}

/** Checks that a broker over TLS is reached with its own authority and a client's certificate, and with nothing less. */
export async function needsCertificates(world, config, { cert, key, ca = cert }, unknown = /^(EPROTO|ECONNRESET)/) {
  for (const [tls, error] of [[undefined, /self-signed/], [{ ca }, unknown], [{ ca, cert, key }, undefined]]) {
    const integration = await world.share({ ...config, tls, retry: { delays: [] } });
    await world.publish(integration.event, 0, 1);
    const seen = await eventually(async () => {
      const found = await world.user.api.integration(world.org.scope, integration.id);
      assert.equal(found.logs.length, 1);
      return found;
    });
    if (error) assert.match(seen.logs[0].error, error);
    else assert.deepEqual([seen.logs[0].outcome, seen.logs[0].error ?? null], ['success', null]);
    assert.ok(!JSON.stringify(seen).includes(key.split('\n')[1]), 'the private key is not shown');
  }
}

/** Gathers the data of the events of a stream until the function that it gives is called. */
export async function listen(url, token, heard) {
  const stop = new AbortController();
  const answer = await fetch(url, { headers: { authorization: `Bearer ${token}` }, signal: stop.signal });
  assert.equal(answer.status, 200);
  const gather = async () => {
    let text = '';
    for await (const piece of answer.body.pipeThrough(new TextDecoderStream())) {
      const lines = (text + piece).split('\n');
      text = lines.pop();
      for (const line of lines) if (line.startsWith('data: ')) heard.push(JSON.parse(line.slice(6)).data);
    }
  };
  gather().catch(() => {}); // stopped
  return () => stop.abort();
}

/** Checks that one event ends as an error with this text, in the log and as an event, and that `secret` is nowhere. */
export async function failsWith({ server, user, org, product }, integration, text, secret) {
  const heard = [];
  const stop = await listen(`${server.base}${product.scope}/events/hook-error/${integration.event}`, user.token, heard);
  await user.js.publishEvent({ name: integration.event, data: '{"n":0}', product: product.id });
  const seen = await eventually(async () => {
    const found = await user.api.integration(org.scope, integration.id);
    assert.equal(found.logs.length, 1);
    assert.match(found.logs[0].error, text);
    assert.deepEqual(heard, [found.logs[0].error]);
    return found;
  });
  stop();
  for (const shown of [JSON.stringify(seen), JSON.stringify(heard), server.log()]) {
    assert.ok(!shown.includes(secret), 'the secret is shown nowhere');
  }
}
