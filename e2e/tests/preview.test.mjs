// What a preview shows of events that came before a crash, and of addresses that delivery would refuse.
import assert from 'node:assert/strict';
import test from 'node:test';
import { Receiver } from '../lib/receiver.mjs';
import { LOOPBACK, Server } from '../lib/server.mjs';
import { threeProducts } from '../lib/world.mjs';

const preview = (user, scope, body) => user.api.want(200, 'POST', `${scope}/integrations/preview`, body);

test('recent events are still there after a kill, and are shown as delivery sends the next one', async (t) => {
  const server = await Server.start(t);
  const receiver = await Receiver.start(t);
  const { user, org, products } = await threeProducts(server.base);
  const [first, second, third] = products;
  for (const [product, value] of [[first, 1], [first, 2], [second, 3]]) {
    await user.js.publishEvent({ name: 'reading', data: JSON.stringify({ t: value }), product: product.id });
  }
  await server.kill('SIGKILL');
  await server.restart();

  const integration = {
    event: 'reading',
    url: receiver.url('/{{PRODUCT_ID}}'),
    json: '{"t": {{t}}}',
    noDefaults: true,
    auth: { username: 'u', password: 'hush' },
    product_ids: products.map((product) => product.id),
  };
  const shown = await preview(user, org.scope, { integration, last: 5 });
  assert.deepEqual(shown.products.map(({ product_id, looked_at, matched }) => [product_id, looked_at, matched]), [
    [first.id, 2, 2], [second.id, 1, 1], [third.id, 0, 0],
  ]);
  assert.deepEqual(shown.products[0].events.map(({ request }) => request.body), ['{"t": 1}', '{"t": 2}']);
  assert.deepEqual(shown.warnings.map(({ code, product_ids }) => [code, product_ids]), [['no_events', [third.id]]]);
  assert.equal(receiver.requests.length, 0, 'nothing was sent');

  const { url, method, body, headers, added_by_http } = shown.products[1].events[0].request;
  await user.api.want(201, 'POST', `${org.scope}/integrations`, integration);
  await user.js.publishEvent({ name: 'reading', data: JSON.stringify({ t: 3 }), product: second.id });
  const [sent] = await receiver.waitFor(`/${second.id}`);
  assert.deepEqual([receiver.url(sent.path), sent.method, sent.text], [url, method, body]);
  const expected = Object.entries({ ...headers, ...added_by_http }).map(([name, value]) => [name.toLowerCase(), value]);
  const { authorization, ...rest } = sent.headers;
  assert.deepEqual({ ...rest, authorization: '[[SENSITIVE]]' }, Object.fromEntries(expected));
  assert.equal(authorization, `Basic ${Buffer.from('u:hush').toString('base64')}`);
});

test('the branded kinds send what their previews show', async (t) => {
  const receiver = await Receiver.start(t);
  const base = receiver.url('');
  const server = await Server.start(t, {
    ...LOOPBACK,
    TRIBUTARY_TARGETS__GOOGLE_PUBSUB__ENDPOINT: base,
    TRIBUTARY_TARGETS__AZURE_IOT_HUB__ENDPOINT: base,
    TRIBUTARY_TARGETS__GOOGLE_MAPS__ENDPOINT: `${base}/maps`,
  });
  const { user, products: [product] } = await threeProducts(server.base);
  const data = JSON.stringify({ w: { a: [{ m: 'aa:bb:cc:dd:ee:ff', s: -50, c: 1 }] } });
  await user.js.publishEvent({ name: 'reading', data, product: product.id });
  for (const settings of [
    { integration_type: 'GoogleCloudPubSub', topic: 'projects/my-project/topics/readings' },
    { integration_type: 'AzureIotHub', hub_name: 'hub', policy_name: 'p', policy_key: 'aHVzaA==' },
    { integration_type: 'GoogleMaps', api_key: 'hush-hush' },
  ]) {
    const integration = { event: 'reading', ...settings };
    const shown = await preview(user, product.scope, { integration });
    assert.deepEqual(shown.warnings, []);
    const { request } = shown.products[0].events[0];
    const { pathname } = new URL(request.url);
    assert.equal(receiver.at(pathname).length, 0, 'nothing was sent yet');
    const { id } = await user.api.want(201, 'POST', `${product.scope}/integrations`, integration);
    const { coreid } = shown.products[0].events[0].event;
    await user.api.want(200, 'POST', `${product.scope}/integrations/${id}/test`, { data, device_id: coreid });
    const [sent] = await receiver.waitFor(pathname);
    // Two events, so the time alone may differ.
    const timeless = (text) => text.replace(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, 'TIME');
    assert.deepEqual([sent.method, timeless(sent.text)], [request.method, timeless(request.body)], settings.integration_type);
    assert.equal(sent.headers['content-length'], request.added_by_http['content-length']);
    assert.ok(!/hush|aHVzaA/.test(JSON.stringify(shown)), 'credentials are not shown');
  }
});

test('an address that delivery would refuse is warned of', async (t) => {
  const server = await Server.start(t, { ...LOOPBACK, TRIBUTARY_DELIVERY__ALLOW_PRIVATE_TARGETS: 'false' });
  const { user, products: [product] } = await threeProducts(server.base);
  for (const [host, codes] of [['10.1.2.3', ['address_refused']], ['localhost', ['address_refused']], ['example.com', []]]) {
    const integration = { event: 'reading', url: 'http://{{host}}/in' };
    const events = [{ data: JSON.stringify({ host }) }];
    const { warnings } = await preview(user, product.scope, { integration, events });
    assert.deepEqual(warnings.map(({ code }) => code), codes, host);
  }
});
