// The limits that an integration sets for its own deliveries: what is over them waits, and is in nobody's way.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Server } from '../lib/server.mjs';
import { Receiver } from '../lib/receiver.mjs';
import { eventually } from '../lib/wait.mjs';
import { newOrg, newProduct, newUser, unique } from '../lib/world.mjs';

/** Publishes readings `from` … `to - 1` in one request. */
const publish = (product, event, from, to) => {
  const line = (n) => JSON.stringify({ name: event, data: `{"n":${from + n}}` });
  const body = Array.from({ length: to - from }, (_, n) => line(n)).join('\n');
  return product.send('events/batch', body);
};

async function world(t) {
  const server = await Server.start(t);
  const receiver = await Receiver.start(t);
  const user = await newUser(server.base);
  const product = await newProduct(user, await newOrg(user));
  product.send = async (path, body) => {
    const answer = await fetch(`${server.base}${product.scope}/${path}`, {
      method: 'POST', body, headers: { 'content-type': 'application/x-ndjson', authorization: `Bearer ${user.token}` },
    });
    assert.equal((await answer.json()).ok, true);
  };
  const hook = async (event, url, limits) => {
    const config = { integration_type: 'Webhook', event, url, noDefaults: true, json: { n: '{{n}}' }, ...limits };
    return user.api.want(201, 'POST', `${product.scope}/integrations`, config);
  };
  const counts = async (id) => (await user.api.want(200, 'GET', `${product.scope}/integrations/${id}`)).integration.today;
  return { server, receiver, product, hook, counts };
}

const readings = (requests) => requests.map((request) => Number(JSON.parse(request.text).n)).sort((a, b) => a - b);

test('a rate is kept, all events arrive once, none counts as failed, and others of the destination do not wait', { timeout: 60_000 }, async (t) => {
  const { receiver, product, hook, counts } = await world(t);
  const [slow, free] = [`slow-${unique()}`, `free-${unique()}`];
  const limited = await hook(slow, receiver.url('/slow'), { rate: { per_second: 150, burst: 5 } });
  await hook(free, receiver.url('/free'), {});
  const started = Date.now();
  // More than are held in memory, so that some wait in the store.
  await publish(product, slow, 0, 450);
  await publish(product, free, 0, 20);
  await receiver.waitFor('/free', 20);
  assert.ok(receiver.at('/slow').length < 400, 'the unlimited one was not behind the limited one');
  const requests = await receiver.waitFor('/slow', 450, 30_000);
  const took = Date.now() - started;
  assert.ok(took >= (1_000 * (450 - 5)) / 150, `450 deliveries at 150 a second took ${took} ms`);
  assert.deepEqual(readings(requests), Array.from({ length: 450 }, (_, n) => n));
  await eventually(async () => assert.deepEqual(await counts(limited.id), { success: 450, error: 0, skipped: 0 }));
});

test('no more run at once than the integration allows', { timeout: 60_000 }, async (t) => {
  const { receiver, product, hook, counts } = await world(t);
  const event = `few-${unique()}`;
  const url = receiver.on('/few', () => ({ delay: 20 }));
  const limited = await hook(event, url, { concurrency: 2 });
  const started = Date.now();
  await publish(product, event, 0, 200);
  const requests = await receiver.waitFor('/few', 200, 30_000);
  const took = Date.now() - started;
  assert.ok(took >= (20 * (200 - 2)) / 2, `200 deliveries of 20 ms, two at once, took ${took} ms`);
  assert.deepEqual(readings(requests), Array.from({ length: 200 }, (_, n) => n));
  await eventually(async () => assert.deepEqual(await counts(limited.id), { success: 200, error: 0, skipped: 0 }));
});

test('what waits for its turn is delivered after the server was killed', { timeout: 60_000 }, async (t) => {
  const { server, receiver, product, hook, counts } = await world(t);
  const event = `kept-${unique()}`;
  const limited = await hook(event, receiver.url('/kept'), { rate: { per_second: 100, burst: 1 } });
  await publish(product, event, 0, 300);
  await receiver.waitFor('/kept', 20);
  await server.kill('SIGKILL');
  await server.restart();
  await eventually(async () => assert.deepEqual(await counts(limited.id), { success: 300, error: 0, skipped: 0 }), { within: 20_000 });
  assert.equal(new Set(readings(receiver.at('/kept'))).size, 300);
});
