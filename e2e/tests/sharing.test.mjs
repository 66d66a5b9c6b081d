// Three products share one webhook. Contract sections 1 and 4.3.
import assert from 'node:assert/strict';
import test from 'node:test';
import { Ledger, arrived, assertSettled, publishUntil } from '../lib/load.mjs';
import { Receiver } from '../lib/receiver.mjs';
import { Server } from '../lib/server.mjs';
import { eventually } from '../lib/wait.mjs';
import { shareWebhook, threeProducts } from '../lib/world.mjs';

const PER_PRODUCT = 1_000;
const today = () => new Date().toISOString().slice(0, 10);

test('3 x 1,000 events through one shared webhook are 3,000 successes, 1,000 for each product', { timeout: 180_000 }, async (t) => {
  const server = await Server.start(t);
  const receiver = await Receiver.start(t);
  const world = await threeProducts(server.base);
  const { user, org, products } = world;
  const hook = await shareWebhook(world, receiver);
  const startedOn = today();

  const ledgers = products.map((product) => new Ledger(product));
  await Promise.all(ledgers.map((ledger) => publishUntil(user, hook.event, ledger, PER_PRODUCT)));

  const history = await eventually(async () => {
    const counted = await user.api.history(org.scope, hook.id);
    assert.equal(counted.total.success, products.length * PER_PRODUCT);
    return counted;
  }, { within: 60_000 });

  assert.deepEqual(history.total, { success: products.length * PER_PRODUCT, error: 0, skipped: 0 });
  for (const ledger of ledgers) {
    const { product } = ledger;
    const seen = arrived(receiver, hook.path, product);
    assert.equal(seen.size, PER_PRODUCT, `each event of product ${product.id} arrives at least once`);
    assertSettled({ ledger, seen, counted: history.of(product.id) });
    const copy = await user.api.history(product.scope, hook.memberOf(product));
    assert.deepEqual(copy.total, history.of(product.id), 'the product sees its own part of the history');
  }

  const listed = (await user.js.listIntegrations({ org: org.slug })).body.find((found) => found.id === hook.id);
  assert.deepEqual([...listed.product_ids].sort(), products.map((product) => product.id).sort());
  // Today's counters begin anew at 00:00 UTC, which may have come during the test.
  if (today() === startedOn) {
    assert.deepEqual(listed.today, { success: products.length * PER_PRODUCT, error: 0, skipped: 0 });
  }
});

test('the list in the organization, the one in a product and the integration itself tell the same', { timeout: 60_000 }, async (t) => {
  const server = await Server.start(t);
  const receiver = await Receiver.start(t);
  const world = await threeProducts(server.base);
  const { user, org, products } = world;
  const hook = await shareWebhook(world, receiver);
  const ids = products.map((product) => product.id).sort();

  const integration = await user.api.integration(org.scope, hook.id);
  assert.deepEqual(integration.products.map((product) => product.id).sort(), ids);
  for (const product of products) {
    const list = (await user.js.listIntegrations({ product: product.slug })).body;
    assert.deepEqual(list.map((found) => found.id), [hook.memberOf(product)]);
    const [copy] = list;
    assert.deepEqual([copy.shared, copy.org_integration_id], [true, hook.id]);
    assert.deepEqual([...copy.product_ids].sort(), ids);
    assert.deepEqual([copy.event, copy.url, copy.json], [integration.event, integration.url, integration.json]);
  }
});
