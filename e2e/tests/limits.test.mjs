// Limits, and an orderly end under load. Contract sections 2.2 and 5.
import assert from 'node:assert/strict';
import test from 'node:test';
import { request } from '../lib/api.mjs';
import { Ledger, arrived, assertSettled, publishBatch, publishOne } from '../lib/load.mjs';
import { Receiver } from '../lib/receiver.mjs';
import { Server } from '../lib/server.mjs';
import { eventually } from '../lib/wait.mjs';
import { newUser, shareWebhook, threeProducts, unique } from '../lib/world.mjs';

/** Failed sign-ins in a row for one address and user name, and in five minutes for one address. */
const IN_A_ROW = 10;
const PER_ADDRESS = 100;
/** What SIGTERM may take. */
const STOP_MS = 10_000;

function signIn(server, username, password) {
  const form = { grant_type: 'password', client_id: 'particle', client_secret: 'particle', username, password };
  return request(server.base, 'POST', '/oauth/token', { form });
}

function assertWrong(got, label) {
  assert.deepEqual([got.status, got.body?.error], [400, 'invalid_grant'], `${label}: ${got.status} ${got.text.slice(0, 200)}`);
}

function assertTooMany(got, label) {
  assert.equal(got.status, 429, `${label}: answered ${got.status} ${got.text.slice(0, 200)}`);
  assert.match(got.headers['retry-after'] ?? '', /^[1-9]\d*$/, label);
  assert.deepEqual([typeof got.body?.error, typeof got.body?.error_description], ['string', 'string'], got.text.slice(0, 200));
}

test('after ten failed sign-ins in a row a name is blocked for a while, and only that name', { timeout: 120_000 }, async (t) => {
  const server = await Server.start(t);
  const [victim, other] = [await newUser(server.base), await newUser(server.base)];
  for (let attempt = 1; attempt < IN_A_ROW; attempt += 1) {
    assertWrong(await signIn(server, victim.username, 'wrong'), `attempt ${attempt}`);
  }
  assert.equal((await signIn(server, victim.username, victim.password)).status, 200, 'the right password ends the row');

  for (let attempt = 1; attempt <= IN_A_ROW; attempt += 1) {
    assertWrong(await signIn(server, victim.username, 'wrong'), `attempt ${attempt} of the second row`);
  }
  assertTooMany(await signIn(server, victim.username, 'wrong'), 'one more');
  assertTooMany(await signIn(server, victim.username, victim.password), 'a right guess is not told from a wrong one');
  assert.equal((await signIn(server, other.username, other.password)).status, 200, 'another name is free');
  await victim.api.want(200, 'GET', '/v1/user');
});

test('after a hundred failed sign-ins an address is blocked for every name', { timeout: 180_000 }, async (t) => {
  const server = await Server.start(t);
  for (let attempt = 1; attempt <= PER_ADDRESS; attempt += 1) {
    assertWrong(await signIn(server, `nobody-${unique()}@example.com`, 'wrong'), `attempt ${attempt}`);
  }
  assertTooMany(await signIn(server, `nobody-${unique()}@example.com`, 'wrong'), 'one more');
});

/** Publishes until the server no longer answers. */
async function publishToTheEnd(user, event, ledger) {
  while (ledger.unanswered.size === 0) {
    await publishOne(user, event, ledger);
    if (ledger.unanswered.size === 0) await publishBatch(user, event, ledger, 20);
  }
}

test('SIGTERM under load ends the process in order within 10 s, and nothing accepted is lost', { timeout: 180_000 }, async (t) => {
  const server = await Server.start(t);
  const receiver = await Receiver.start(t);
  const world = await threeProducts(server.base);
  const { user, org, products } = world;
  // A slow destination, so that much is under way; and one that never answers the first time.
  const hook = await shareWebhook(world, receiver, { delay: 100 });
  const stuck = await shareWebhook(world, receiver, (_request, nth) => (nth === 1 ? 'hang' : {}));
  const ledgers = products.map((product) => new Ledger(product));
  const stuckLedger = new Ledger(products[0]);

  assert.ok(await publishOne(user, stuck.event, stuckLedger));
  await receiver.waitFor(stuck.path, 1);
  const publishing = Promise.all(ledgers.map((ledger) => publishToTheEnd(user, hook.event, ledger)));
  await receiver.waitFor(hook.path, 50, 30_000);
  const { code, signal, ms } = await server.kill('SIGTERM');
  assert.deepEqual([code, signal], [0, null]);
  assert.ok(ms < STOP_MS, `the end took ${ms} ms`);
  await publishing;

  await server.restart();
  await eventually(async () => {
    const history = await user.api.history(org.scope, hook.id);
    for (const ledger of ledgers) {
      const seen = arrived(receiver, hook.path, ledger.product);
      assertSettled({ ledger, seen, counted: history.of(ledger.product.id) });
    }
    const counted = (await user.api.history(org.scope, stuck.id)).total;
    assertSettled({ ledger: stuckLedger, seen: arrived(receiver, stuck.path, products[0]), counted });
  }, { within: 90_000, every: 250 });
});
