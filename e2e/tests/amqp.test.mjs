// The kind Amqp against RabbitMQ, read back with pika.
import assert from 'node:assert/strict';
import test from 'node:test';
import { AFTER_OUTAGE_MS, WITH_OUTAGE_MS, allArrived, failsWith, needsCertificates, outage, scene } from '../lib/broker.mjs';
import { GUEST, RabbitMq, USER, skip } from '../lib/rabbitmq.mjs';
import { eventually } from '../lib/wait.mjs';

const TIMEOUT_MS = 90_000;
const numbers = (messages) => () => messages.map((message) => JSON.parse(message.body).n);
const config = (rabbit, change = {}) => ({ integration_type: 'Amqp', url: rabbit.url, routing_key: 'readings', ...USER, ...change });

test('ten thousand events are in a queue and counted, also when the broker is away for a while', { timeout: WITH_OUTAGE_MS, skip }, async (t) => {
  const rabbit = await RabbitMq.start(t);
  const world = await scene(t);
  const integration = await world.share(config(rabbit));
  await world.publish(integration.event, 0, 5_000);
  await rabbit.daemon.stop();
  await world.publish(integration.event, 5_000, 10_000);
  await outage();
  await rabbit.daemon.start();
  const messages = rabbit.listen(t, 'readings');
  await allArrived(world, integration, 10_000, numbers(messages), AFTER_OUTAGE_MS);
  const ids = new Map(messages.map((message) => [message.message_id, message.body]));
  assert.equal(ids.size, 10_000, 'what comes twice has the same id');
});

test('exchange, routing key, virtual host and message come from templates, and the message says what it is', { timeout: TIMEOUT_MS, skip }, async (t) => {
  const rabbit = await RabbitMq.start(t);
  const world = await scene(t);
  const rooms = rabbit.listen(t, 'rooms');
  const change = {
    exchange: '{{{EXCHANGE}}}', routing_key: 'room.{{n}}', payload: '{"n":{{n}}, "of": "{{PRODUCT_ID}}"}', content_type: 'application/json',
    parameters: { EXCHANGE: 'plant' }, batch: { max_wait_ms: 50 },
  };
  const plant = await world.share(config(rabbit, change));
  await world.publish(plant.event, 0, 1_000);
  await allArrived(world, plant, 1_000, numbers(rooms));
  const { body, headers, message_id: id, timestamp, ...said } = rooms.find((message) => message.routing_key === 'room.7');
  assert.deepEqual(said, { exchange: 'plant', routing_key: 'room.7', content_type: 'application/json', delivery_mode: 2, app_id: 'tributary' });
  assert.equal(JSON.parse(body).of, `${world.product.id}`);
  const { published_at: at, ...event } = headers;
  assert.deepEqual(event, { event: plant.event, device_id: 'api', product_id: `${world.product.id}` });
  assert.equal(Math.floor(Date.parse(at) / 1_000), timestamp);
  assert.match(id, /^[0-9a-f-]{36}_[0-9a-f]{24}$/);

  const other = rabbit.listen(t, 'readings', 'site');
  const site = await world.share(config(rabbit, { vhost: '{{site}}', persistent: false }));
  await world.user.js.publishEvent({ name: site.event, data: '{"n":0,"site":"site"}', product: world.product.id });
  await allArrived(world, site, 1, numbers(other));
  assert.equal(other[0].delivery_mode, 1);
  const tested = await world.user.api.want(200, 'POST', `${world.org.scope}/integrations/${plant.id}/test`, { data: '{"n":1}' });
  assert.equal(tested.pass, true, JSON.stringify(tested));
  const shown = await world.user.api.integration(world.org.scope, plant.id);
  assert.equal(shown.password, '[[SENSITIVE]]');
  assert.ok(!JSON.stringify([plant, shown, tested]).includes(USER.password), 'the password is in no answer and no log');
});

test('what the broker refuses is told clearly, and passwords are shown nowhere', { timeout: TIMEOUT_MS, skip }, async (t) => {
  const rabbit = await RabbitMq.start(t);
  const world = await scene(t);
  const fails = async (change, text, secret = USER.password) => {
    await failsWith(world, await world.share(config(rabbit, { retry: { delays: [] }, ...change })), text, secret);
  };
  const password = 'not-the-password';
  await fails({ password }, /^error 403 ACCESS_REFUSED from 127\.0\.0\.1: Login was refused using authentication mechanism PLAIN\./, password);
  await fails({ ...GUEST, exchange: 'plant' }, /^error 403 ACCESS_REFUSED from 127\.0\.0\.1: .*exchange 'plant' in vhost '\/' refused for user 'guest'/, GUEST.password);
  await fails({ vhost: 'none' }, /^error 530 NOT_ALLOWED from 127\.0\.0\.1: vhost none not found$/);
  await fails({ exchange: 'nobody' }, /^error 404 NOT_FOUND from 127\.0\.0\.1: no exchange 'nobody' in vhost '\/'$/);
  await fails({ routing_key: 'nowhere' }, /^error 312 NO_ROUTE from 127\.0\.0\.1: there is no queue 'nowhere'$/);
  await fails({ exchange: 'plant', routing_key: 'hall' }, /^error 312 NO_ROUTE from 127\.0\.0\.1: exchange 'plant' has no queue for the routing key 'hall'$/);
  await fails({ routing_key: 'full' }, /^error NACK from 127\.0\.0\.1: not stored$/);
  const dropped = await world.share(config(rabbit, { routing_key: 'nowhere', mandatory: false }));
  await world.publish(dropped.event, 0, 10);
  await allArrived(world, dropped, 10, () => Array.from({ length: 10 }, (_, n) => n));
});

test('of messages that are published together each has its own outcome', { timeout: TIMEOUT_MS, skip }, async (t) => {
  const rabbit = await RabbitMq.start(t);
  const world = await scene(t);
  const messages = rabbit.listen(t, 'readings');
  const change = { routing_key: '{{#odd}}nowhere{{/odd}}{{^odd}}readings{{/odd}}', batch: { max_wait_ms: 200 }, retry: { delays: [] } };
  const integration = await world.share(config(rabbit, change));
  const events = Array.from({ length: 40 }, (_, n) => ({ name: integration.event, data: JSON.stringify({ n, odd: n % 2 === 1 }) }));
  const body = events.map((event) => JSON.stringify(event)).join('\n');
  await world.user.api.req('POST', `${world.product.scope}/events/batch`, { body, headers: { 'content-type': 'application/x-ndjson' } });
  await eventually(async () => {
    const { total } = await world.user.api.history(world.org.scope, integration.id);
    assert.deepEqual(total, { success: 20, error: 20, skipped: 0 });
    assert.deepEqual(numbers(messages)().toSorted((a, b) => a - b), Array.from({ length: 20 }, (_, n) => 2 * n));
  });
});

test('a broker that takes nothing for now says why', { timeout: TIMEOUT_MS, skip }, async (t) => {
  const rabbit = await RabbitMq.start(t, { settings: ['disk_free_limit.absolute = 1000000GB'] });
  const world = await scene(t);
  const integration = await world.share(config(rabbit, { retry: { delays: [] } }));
  await failsWith(world, integration, /^error connection\.blocked from 127\.0\.0\.1: low on disk$/, USER.password);
});

test('certificates are asked for and shown, and may be all that is shown', { timeout: TIMEOUT_MS, skip }, async (t) => {
  const rabbit = await RabbitMq.start(t, { tls: true });
  const world = await scene(t);
  await needsCertificates(world, config(rabbit, { url: rabbit.secure }), rabbit.pem);
  const messages = rabbit.listen(t, 'rooms');
  const nobody = { username: undefined, password: undefined, tls: rabbit.pem, routing_key: 'rooms' };
  const integration = await world.share(config(rabbit, { url: rabbit.secure, ...nobody }));
  await world.publish(integration.event, 0, 10);
  await allArrived(world, integration, 10, numbers(messages));
});

test('the password may be a cloud secret, and is not shown either', { timeout: TIMEOUT_MS, skip }, async (t) => {
  const rabbit = await RabbitMq.start(t);
  const world = await scene(t);
  const messages = rabbit.listen(t, 'readings');
  await world.user.api.want(201, 'POST', `${world.org.scope}/secrets`, { secret: { name: 'BROKER_PASSWORD', value: USER.password } });
  const integration = await world.share(config(rabbit, { password: '{{{BROKER_PASSWORD}}}' }));
  await world.publish(integration.event, 0, 1);
  await allArrived(world, integration, 1, numbers(messages));
  const shown = await world.user.api.integration(world.org.scope, integration.id);
  assert.ok(!JSON.stringify(shown).includes(USER.password), 'the secret is not in the log');
  assert.ok(!world.server.log().includes(USER.password), 'nor in that of the server');
});
