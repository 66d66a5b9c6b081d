// The branded kinds from publish to service: each service is played by a receiver that checks what the service checks.
import assert from 'node:assert/strict';
import { createHmac, createVerify, generateKeyPairSync } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { AFTER_OUTAGE_MS, WITH_OUTAGE_MS, allArrived, outage, scene as broker } from '../lib/broker.mjs';
import { Gate } from '../lib/gate.mjs';
import { Receiver } from '../lib/receiver.mjs';
import { Server } from '../lib/server.mjs';
import { eventually } from '../lib/wait.mjs';
import { threeProducts, unique } from '../lib/world.mjs';

const KEY = Buffer.from('the key of a policy').toString('base64');

/** A server whose three services are at the receiver. Private addresses stay refused: endpoints are the operator's. */
async function scene(t, more = () => ({})) {
  const receiver = await Receiver.start(t);
  const endpoint = `http://127.0.0.1:${receiver.port}`;
  const server = await Server.start(t, {
    TRIBUTARY_ACCOUNTS__SIGNUP: 'open',
    TRIBUTARY_TARGETS__AZURE_IOT_HUB__ENDPOINT: endpoint,
    TRIBUTARY_TARGETS__GOOGLE_MAPS__ENDPOINT: endpoint,
    TRIBUTARY_TARGETS__GOOGLE_PUBSUB__ENDPOINT: `127.0.0.1:${receiver.port}`,
    ...(await more(receiver)),
  });
  return { receiver, ...(await threeProducts(server.base)) };
}

/** Shares an integration of this kind by all products, publishes `data` in each, and waits until all is counted. */
async function run({ user, org, products }, config, data, counted) {
  const event = `reading-${unique()}`;
  const body = { event, ...config, product_ids: products.map((product) => product.id) };
  const made = await user.api.want(201, 'POST', `${org.scope}/integrations`, body);
  for (const product of products) await user.js.publishEvent({ name: event, data, product: product.id });
  await eventually(async () => {
    const { total } = await user.api.history(org.scope, made.id);
    assert.deepEqual(total, { success: 0, error: 0, skipped: 0, ...counted });
  });
  return { event, made, seen: await user.api.integration(org.scope, made.id) };
}

/** Checks a shared access signature as Microsoft documents it. */
function assertSigned(header) {
  assert.match(header, /^SharedAccessSignature /);
  const part = Object.fromEntries(header.slice(22).split('&').map((pair) => pair.split(/=(.*)/s)));
  const expected = createHmac('sha256', Buffer.from(KEY, 'base64')).update(`${part.sr}\n${part.se}`).digest('base64');
  assert.equal(decodeURIComponent(part.sig), expected);
  assert.equal(decodeURIComponent(part.sr), 'my-hub.azure-devices.net');
  assert.equal(part.skn, 'iothubowner');
  assert.ok(Number(part.se) > Date.now() / 1000 + 60);
}

test('an IoT hub gets signed messages of a device that is created on first use', async (t) => {
  const world = await scene(t);
  const devices = new Set();
  world.receiver.on('/devices/api', (request) => devices.add(JSON.parse(request.text).deviceId) && { body: '{}' });
  world.receiver.on('/devices/api/messages/events', (request) => {
    assertSigned(request.headers.authorization);
    return devices.has('api') ? { status: 204 } : { status: 404, body: '{"Message":"ErrorCode:DeviceNotFound"}' };
  });
  const config = { integration_type: 'AzureIotHub', hub_name: 'my-hub', policy_name: 'iothubowner', policy_key: KEY };
  const { event, made, seen } = await run(world, config, '22.5', { success: 3 });
  assert.ok(made.integrationUrl.endsWith(made.id) && made.hookUrl === undefined);
  assert.equal(made.name, `${event} for my-hub`);
  assert.equal(seen.policy_key, '[[SENSITIVE]]');
  assert.ok(!JSON.stringify([made, seen]).includes(KEY), 'the key is in no answer and no log');
  const tested = await world.user.api.want(200, 'POST', `${world.org.scope}/integrations/${made.id}/test`, {});
  assert.equal(tested.pass, true);
  const message = JSON.parse(world.receiver.at('/devices/api/messages/events')[1].text);
  assert.deepEqual([message.data, message.device_id, message.event], ['22.5', 'api', event]);
});

test('a location is asked for and published as three numbers, and the key stays hidden', async (t) => {
  const world = await scene(t);
  const key = `key-${unique()}`;
  const answer = { location: { lat: 51.5, lng: -0.12 }, accuracy: 1200.4 };
  world.receiver.on('/geolocation/v1/geolocate', { body: JSON.stringify({ ...answer, echo: key }) });
  const data = JSON.stringify({ w: { a: [{ m: '00:11:22:33:44:55', s: -60, c: 11 }] } });
  const stream = await world.user.js.getEventStream({ product: world.products[0].id, name: 'hook-response' });
  const heard = [];
  stream.on('event', (event) => heard.push([event.name, event.data]));
  const { event, seen } = await run(world, { integration_type: 'GoogleMaps', api_key: key }, data, { success: 3 });
  await eventually(() => assert.deepEqual(heard, [[`hook-response/${event}/api/0`, '51.5,-0.12,1200.4']]));
  stream.abort?.();
  assert.ok(!JSON.stringify(seen).includes(key), 'the key is in no answer and no log');
  const refused = { integration_type: 'GoogleMaps', api_key: key };
  const { seen: wrong } = await run(world, refused, 'not from a locator', { error: 3 });
  assert.match(wrong.logs[0].error, /the event's data is not from a device locator/);
});

test('a topic gets the events of every product, and its refusals are said in its words', async (t) => {
  const world = await scene(t);
  world.receiver.on('/v1/projects/p1/topics/doors:publish', { body: '{"messageIds":["1"]}' });
  const config = { integration_type: 'GoogleCloudPubSub', topic: 'p1/doors' };
  const { event } = await run(world, config, 'grün', { success: 3 });
  const messages = world.receiver.at('/v1/projects/p1/topics/doors:publish').map((got) => JSON.parse(got.text).messages[0]);
  assert.deepEqual(new Set(messages.map((m) => Buffer.from(m.data, 'base64').toString())), new Set(['grün']));
  assert.ok(messages.every((m) => m.attributes.event === event && m.attributes.device_id === 'api'));
  const products = new Set(messages.map((m) => Number(m.attributes.product_id)));
  assert.deepEqual(products, new Set(world.products.map((product) => product.id)));
  const said = { error: { message: 'User not authorized to perform this action.' } };
  world.receiver.on('/v1/projects/p1/topics/other:publish', { status: 403, body: JSON.stringify(said) });
  const { seen } = await run(world, { ...config, topic: 'p1/other' }, 'x', { error: 3 });
  assert.equal(seen.logs[0].error, 'error status 403 from 127.0.0.1: User not authorized to perform this action.');
});

test('a topic at Google is published to with a token of the service account', async (t) => {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const folder = await mkdtemp(path.join(tmpdir(), 'tributary-account-'));
  t.after(() => rm(folder, { recursive: true }));
  const world = await scene(t, async (receiver) => {
    const file = path.join(folder, 'google.json');
    const key = privateKey.export({ type: 'pkcs8', format: 'pem' });
    const account = { client_email: 'robot@p1.iam.gserviceaccount.com', private_key: key, token_uri: receiver.url('/token') };
    await writeFile(file, JSON.stringify(account));
    return { TRIBUTARY_TARGETS__GOOGLE_PUBSUB__CREDENTIALS_FILE: file };
  });
  world.receiver.on('/token', (request) => {
    const [head, claims, signature] = new URLSearchParams(request.text).get('assertion').split('.');
    const genuine = createVerify('RSA-SHA256').update(`${head}.${claims}`).verify(publicKey, signature, 'base64url');
    const { iss, scope, iat } = JSON.parse(Buffer.from(claims, 'base64url').toString());
    assert.deepEqual([genuine, iss], [true, 'robot@p1.iam.gserviceaccount.com']);
    assert.equal(scope, 'https://www.googleapis.com/auth/pubsub');
    assert.ok(Math.abs(iat - Date.now() / 1000) < 60);
    return { body: '{"access_token":"hush-hush","expires_in":3600,"token_type":"Bearer"}' };
  });
  world.receiver.on('/v1/projects/p1/topics/doors:publish', (request) => {
    const known = request.headers.authorization === 'Bearer hush-hush';
    return known ? { body: '{"messageIds":["1"],"echo":"hush-hush"}' } : { status: 401, body: '{}' };
  });
  const { seen } = await run(world, { integration_type: 'GoogleCloudPubSub', topic: 'p1/doors' }, 'x', { success: 3 });
  assert.equal(world.receiver.at('/token').length, 1, 'a token is used again');
  assert.ok(!JSON.stringify(seen).includes('hush-hush'), 'the token is not in the log');
});

/** The kinds without a test file of their own: a configuration, an event's data, and the reading of a request. */
const PLAIN = {
  Webhook: { config: (url) => ({ url: `${url}/in`, json: { n: '{{n}}' } }), data: (n) => ({ n }), read: ({ n }) => Number(n) },
  GoogleMaps: {
    config: () => ({ api_key: 'k' }),
    data: (n) => ({ w: { a: [{ m: `00:11:22:33:${(n >> 8).toString(16).padStart(2, '0')}:${(n & 255).toString(16).padStart(2, '0')}`, s: -60, c: 11 }] } }),
    read: ({ wifiAccessPoints: [{ macAddress }] }) => parseInt(macAddress.replaceAll(':', '').slice(-4), 16),
  },
};
for (const [kind, { config, data, read }] of Object.entries(PLAIN)) {
  test(`ten thousand events arrive through the kind ${kind} and are counted, also when its peer is away for a while`, { timeout: WITH_OUTAGE_MS }, async (t) => {
    const receiver = await Receiver.start(t);
    const gate = await Gate.start(t, receiver.port);
    const url = `http://127.0.0.1:${gate.port}`;
    const world = await broker(t, { TRIBUTARY_TARGETS__GOOGLE_MAPS__ENDPOINT: url });
    const path = kind === 'Webhook' ? '/in' : '/geolocation/v1/geolocate';
    receiver.on(path, { body: '{"location":{"lat":51.5,"lng":-0.12},"accuracy":1200.4}' });
    const integration = await world.share({ integration_type: kind, ...config(url) });
    const publish = (from, to) => world.publish(integration.event, from, to, data);
    await publish(0, 5_000);
    await gate.close();
    await publish(5_000, 10_000);
    await outage();
    await gate.open();
    await allArrived(world, integration, 10_000, () => receiver.at(path).map(({ text }) => read(JSON.parse(text))), AFTER_OUTAGE_MS);
  });
}
