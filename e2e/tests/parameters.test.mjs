// One product of three overrides a parameter of the webhook that they share.
import assert from 'node:assert/strict';
import test from 'node:test';
import { Receiver } from '../lib/receiver.mjs';
import { LOOPBACK, Server } from '../lib/server.mjs';
import { shareWebhook, threeProducts } from '../lib/world.mjs';

const CHANGE = { json: { id: '{{id}}', product: '{{PRODUCT_ID}}', site: '{{{SITE}}}' }, parameters: { SITE: 'eu' } };

/** Publishes one event in each product and gives the site that each product sent to `path`. */
async function sites({ user, products }, receiver, event, path, id) {
  const before = receiver.at(path).length;
  for (const product of products) {
    const data = JSON.stringify({ id, SITE: 'forged' });
    await user.api.want(200, 'POST', `${product.scope}/events`, { name: event, data });
  }
  const got = (await receiver.waitFor(path, before + products.length)).slice(before).map(({ text }) => JSON.parse(text));
  return products.map((product) => got.find((one) => one.product === String(product.id)).site);
}

const override = ({ user, org }, hook, product, parameters) =>
  user.api.want(200, 'PUT', `${org.scope}/integrations/${hook.id}/products/${product.id}`, { parameters });

test('an override is in the next request of its product, in no other, and follows the shared url', { timeout: 60_000 }, async (t) => {
  const server = await Server.start(t);
  const receiver = await Receiver.start(t);
  const world = await threeProducts(server.base);
  const { user, org, products } = world;
  const hook = await shareWebhook(world, receiver, undefined, CHANGE);
  assert.deepEqual(await sites(world, receiver, hook.event, hook.path, 1), ['eu', 'eu', 'eu']);

  await override(world, hook, products[1], { SITE: 'us' });
  assert.deepEqual(await sites(world, receiver, hook.event, hook.path, 2), ['eu', 'us', 'eu']);

  const moved = `${hook.path}/moved`;
  await user.api.want(200, 'PUT', `${org.scope}/integrations/${hook.id}`, { ...hook.config, url: receiver.url(moved) });
  assert.deepEqual(await sites(world, receiver, hook.event, moved, 3), ['eu', 'us', 'eu']);
  assert.equal(receiver.at(hook.path).length, 6, 'nothing more goes to the old address');

  await server.kill('SIGTERM');
  await server.restart();
  assert.deepEqual(await sites(world, receiver, hook.event, moved, 4), ['eu', 'us', 'eu']);
});

test('a delivery that is retried is sent with the override as it is then', { timeout: 60_000 }, async (t) => {
  const server = await Server.start(t, { ...LOOPBACK, TRIBUTARY_DELIVERY__RETRY_DELAYS: '3s,3s' });
  const receiver = await Receiver.start(t);
  const world = await threeProducts(server.base);
  const { user, products: [product] } = world;
  const hook = await shareWebhook(world, receiver, (_request, nth) => ({ status: nth === 1 ? 503 : 200 }), CHANGE);

  await user.api.want(200, 'POST', `${product.scope}/events`, { name: hook.event, data: '{"id":1}' });
  await receiver.waitFor(hook.path, 1);
  await override(world, hook, product, { SITE: 'us' });
  const sent = (await receiver.waitFor(hook.path, 2)).map(({ text }) => JSON.parse(text).site);
  assert.deepEqual(sent, ['eu', 'us']);
});
