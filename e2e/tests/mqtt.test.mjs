// The kind Mqtt against Mosquitto, read back with Mosquitto's own subscriber.
import assert from 'node:assert/strict';
import test from 'node:test';
import { AFTER_OUTAGE_MS, WITH_OUTAGE_MS, allArrived, failsWith, needsCertificates, outage, scene } from '../lib/broker.mjs';
import { Mosquitto, USER, skip } from '../lib/mosquitto.mjs';
import { eventually } from '../lib/wait.mjs';

const numbers = (messages) => () => messages.map((message) => JSON.parse(message.payload).n);
const config = (broker, change = {}) => ({
  integration_type: 'Mqtt', url: broker.url, topic: 'readings/{{{PARTICLE_DEVICE_ID}}}', ...USER, ...change,
});

test('ten thousand events arrive and are counted, also when the broker is away for a while', { timeout: WITH_OUTAGE_MS, skip }, async (t) => {
  const broker = await Mosquitto.start(t);
  const world = await scene(t);
  const messages = await broker.subscribe(t, 'readings/#');
  const integration = await world.share(config(broker));
  await world.publish(integration.event, 0, 5_000);
  await broker.daemon.stop();
  await world.publish(integration.event, 5_000, 10_000);
  await outage();
  await broker.daemon.start();
  await allArrived(world, integration, 10_000, numbers(messages), AFTER_OUTAGE_MS);
  assert.equal(messages[0].topic, 'readings/api');
});

test('MQTT 5, QoS 0, retained messages, templates and the test button', { timeout: 45_000, skip }, async (t) => {
  const broker = await Mosquitto.start(t);
  const world = await scene(t);
  const [messages, newer] = [await broker.subscribe(t, 'plain/#'), await broker.subscribe(t, 'five/#', 'mqttv5')];
  const plain = await world.share(config(broker, { qos: 0, topic: 'plain/{{n}}', payload: '{"n":{{n}}, "of": "{{PRODUCT_ID}}"}' }));
  const five = await world.share(config(broker, { protocol: '5', topic: 'five/kept', retain: true }));
  for (const { event } of [plain, five]) await world.publish(event, 0, 500);
  await allArrived(world, plain, 500, numbers(messages));
  await allArrived(world, five, 500, numbers(newer));
  assert.deepEqual(new Set(messages.map((m) => m.topic)).size, 500);
  assert.equal(JSON.parse(messages[0].payload).of, `${world.product.id}`);
  const late = await broker.subscribe(t, 'five/#');
  await eventually(() => assert.equal(late.filter((message) => message.retain === 1).length, 1));
  const tested = await world.user.api.want(200, 'POST', `${world.org.scope}/integrations/${five.id}/test`, {});
  assert.equal(tested.pass, true, JSON.stringify(tested));
  const shown = await world.user.api.integration(world.org.scope, five.id);
  assert.equal(shown.password, '[[SENSITIVE]]');
  assert.ok(!JSON.stringify([plain, five, shown, tested]).includes(USER.password), 'the password is in no answer and no log');
});

test('wrong credentials are told clearly, and the password is shown nowhere', { timeout: 45_000, skip }, async (t) => {
  const broker = await Mosquitto.start(t);
  const world = await scene(t);
  const password = 'not-the-password';
  for (const [protocol, text] of [['3.1.1', /^error CONNACK 0x05 from 127\.0\.0\.1: not authorized$/], ['5', /^error CONNACK 0x87 from 127\.0\.0\.1: not authorized$/]]) {
    await failsWith(world, await world.share(config(broker, { password, protocol })), text, password);
  }
});

test('certificates are asked for and shown', { timeout: 45_000, skip }, async (t) => {
  const broker = await Mosquitto.start(t, { tls: true });
  await needsCertificates(await scene(t), config(broker, { url: broker.secure }), broker.pem);
});

test('user name and password may be cloud secrets, and a secret that is right is not shown either', { timeout: 45_000, skip }, async (t) => {
  const broker = await Mosquitto.start(t);
  const world = await scene(t);
  const messages = await broker.subscribe(t, 'readings/#');
  const secret = { secret: { name: 'BROKER_PASSWORD', value: USER.password } };
  await world.user.api.want(201, 'POST', `${world.org.scope}/secrets`, secret);
  const integration = await world.share(config(broker, { password: '{{{BROKER_PASSWORD}}}' }));
  await world.publish(integration.event, 0, 1);
  await allArrived(world, integration, 1, numbers(messages));
  const shown = await world.user.api.integration(world.org.scope, integration.id);
  assert.ok(!JSON.stringify(shown).includes(USER.password), 'the secret is not in the log');
  assert.ok(!world.server.log().includes(USER.password), 'nor in that of the server');
});
