// What failed while a destination was down is delivered again once it is up: counted first, across a kill, and one row alone.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LOOPBACK, Server } from '../lib/server.mjs';
import { Receiver } from '../lib/receiver.mjs';
import { eventually } from '../lib/wait.mjs';
import { newUser, shareWebhook, threeProducts } from '../lib/world.mjs';

/** A webhook of three products that refuses `each` readings of each; ready to answer. */
async function failed(t, each, settings = {}) {
  const server = await Server.start(t, { ...LOOPBACK, ...settings });
  const world = await threeProducts(server.base);
  const receiver = await Receiver.start(t);
  const destination = { status: 404 };
  const hook = await shareWebhook(world, receiver, () => ({ status: destination.status }));
  const path = `${world.org.scope}/integrations/${hook.id}`;
  const { api } = world.user;
  const all = each * world.products.length;
  for (const product of world.products) {
    for (let n = 0; n < each; n += 1) {
      await api.want(200, 'POST', `${product.scope}/events`, { name: hook.event, data: JSON.stringify({ id: `${product.id}-${n}` }) });
    }
  }
  await eventually(async () => {
    const { integration } = await api.want(200, 'GET', path);
    assert.equal(integration.today.error, all);
  }, { within: 30_000 });
  receiver.requests.length = 0;
  destination.status = 200;
  const finished = (run) => eventually(async () => {
    const { redelivery } = await api.want(200, 'GET', `${path}/redeliveries/${run.id}`);
    assert.equal(redelivery.state, 'finished');
    return redelivery;
  }, { within: 60_000 });
  return { server, world, receiver, hook, path, api, all, finished };
}

const ids = (requests) => new Set(requests.map((request) => JSON.parse(request.text).id));

test('events of a time when the destination was down arrive, and the history stays as it was', { timeout: 120_000 }, async (t) => {
  const each = 5;
  const { world, receiver, hook, path, api, all, finished } = await failed(t, each);
  const count = await api.want(200, 'POST', `${path}/redeliver`, { outcome: 'error', dry_run: true });
  assert.deepEqual(count.products, world.products.map(({ id }) => ({ id, count: each })));
  assert.equal(receiver.requests.length, 0, 'counting sends nothing');

  const { redelivery } = await api.want(200, 'POST', `${path}/redeliver`, { outcome: 'error' });
  const run = await finished(redelivery);
  assert.deepEqual([run.total, run.sent, run.success, run.error, run.skipped], [all, all, all, 0, 0]);
  assert.equal(ids(receiver.at(hook.path)).size, all);
  assert.equal(receiver.at(hook.path).length, all, 'each of them once');
  const { history } = await api.want(200, 'GET', `${path}/history?days=1`);
  assert.deepEqual([history.total[0].success, history.total[0].error], [0, all]);
  assert.deepEqual(history.redelivered, { success: all, error: 0, skipped: 0 });
});

test('a redelivery goes on after the server was killed', { timeout: 120_000 }, async (t) => {
  const { server, receiver, hook, path, api, all, finished } = await failed(t, 20, { TRIBUTARY_REDELIVERY__PER_SECOND: '10' });
  const { redelivery } = await api.want(200, 'POST', `${path}/redeliver`, {});
  await receiver.waitFor(hook.path, 5);
  await server.kill('SIGKILL');
  assert.ok(ids(receiver.at(hook.path)).size < all, 'it was killed in the middle');
  await server.restart();
  const run = await finished(redelivery);
  assert.deepEqual([run.sent, run.success], [all, all]);
  assert.equal(ids(receiver.at(hook.path)).size, all);
  const { history } = await api.want(200, 'GET', `${path}/history?days=1`);
  assert.deepEqual(history.redelivered, { success: all, error: 0, skipped: 0 });
});

test('one row of the log is delivered again alone', { timeout: 120_000 }, async (t) => {
  const { receiver, hook, path, api, finished } = await failed(t, 2);
  const { integration } = await api.want(200, 'GET', path);
  const row = integration.logs.find((entry) => entry.kept);
  const { redelivery } = await api.want(200, 'POST', `${path}/logs/${row.id}/redeliver`, {});
  assert.equal((await finished(redelivery)).success, 1);
  assert.deepEqual([...ids(receiver.at(hook.path))], [JSON.parse(row.event.data).id]);
});

test('the console counts and delivers again, and a viewer has no button for it', { timeout: 120_000 }, async (t) => {
  const { server, world, receiver, hook, path, api, all, finished } = await failed(t, 2);
  const viewer = await newUser(server.base);
  await api.want(201, 'POST', `${world.org.scope}/team`, { username: viewer.username, role: 'View-only' });
  const address = `/orgs/${world.org.slug}/integrations/${hook.id}`;
  const signIn = async ({ username, password }) => {
    const answer = await fetch(`${server.base}/sign-in`, {
      method: 'POST', redirect: 'manual', body: new URLSearchParams({ username, password }),
      headers: { origin: server.base, 'sec-fetch-site': 'same-origin' },
    });
    return answer.headers.getSetCookie().map((cookie) => cookie.split(';')[0]).join('; ');
  };
  const look = async (cookie, at) => (await fetch(`${server.base}${at}`, { headers: { cookie } })).text();

  const cookie = await signIn(world.user);
  const page = await look(cookie, address);
  assert.match(page, /<button name="log" value="\d+">Redeliver<\/button>/);
  const [, csrf] = page.match(/name="csrf" value="([^"]+)"/);
  const send = async (fields) => (await fetch(`${server.base}${address}/redelivery`, {
    method: 'POST', headers: { cookie, origin: server.base, 'sec-fetch-site': 'same-origin' },
    body: new URLSearchParams({ csrf, from: '2020-01-01T00:00', to: '', outcome: 'error', ...fields }),
  })).text();
  const one = await send({ do: 'count', product_ids: String(world.products[0].id) });
  assert.ok(one.includes(`${world.products[0].name}: 2`) && !one.includes(`${world.products[1].name}: 2`), one);
  const counted = await send({ do: 'count' });
  for (const product of world.products) assert.ok(counted.includes(`${product.name}: 2`), counted);
  assert.equal(receiver.requests.length, 0);
  assert.match(await send({ do: 'begin' }), /Last redeliveries/);
  const { redeliveries } = await api.want(200, 'GET', `${path}/redeliveries`);
  assert.equal((await finished(redeliveries[0])).success, all);
  assert.ok((await look(cookie, `${address}/redelivery`)).includes(`${all} of ${all}`));

  const watching = await signIn(viewer);
  for (const at of [address, `${address}/redelivery`]) {
    const seen = await look(watching, at);
    assert.match(seen, /redelivery/i);
    assert.ok(!seen.includes('Redeliver</button>'), `${at} has no button for a viewer`);
  }
});
