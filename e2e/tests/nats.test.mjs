// The kind Nats against nats-server: streams that are read back, messages to who listens, and every way to be known.
import assert from 'node:assert/strict';
import test from 'node:test';
import { AFTER_OUTAGE_MS, WITH_OUTAGE_MS, allArrived, failsWith, needsCertificates, outage, scene } from '../lib/broker.mjs';
import { NKEY, Nats, USER, byTokens, skip } from '../lib/nats.mjs';
import { eventually } from '../lib/wait.mjs';

const numbers = (messages) => () => messages.map((message) => JSON.parse(message.payload).n);
const config = (nats, change = {}) => ({
  integration_type: 'Nats', url: nats.url, subject: 'readings.{{{PARTICLE_DEVICE_ID}}}', ...USER, ...change,
});
const stream = (client, name, subject) => client.ask(`STREAM.CREATE.${name}`, {
  name, subjects: [subject], storage: 'file', retention: 'limits', discard: 'old', num_replicas: 1,
});

test('ten thousand events are stored and counted, also when the server is away for a while', { timeout: WITH_OUTAGE_MS, skip }, async (t) => {
  const nats = await Nats.start(t);
  const world = await scene(t);
  await stream(await nats.client(t), 'READINGS', 'readings.>');
  const integration = await world.share(config(nats, { jetstream: true }));
  await world.publish(integration.event, 0, 5_000);
  await nats.daemon.stop();
  await world.publish(integration.event, 5_000, 10_000);
  await outage();
  await nats.daemon.start();
  const messages = await (await nats.client(t)).stored('READINGS');
  await allArrived(world, integration, 10_000, numbers(messages), AFTER_OUTAGE_MS);
  assert.equal(messages.length, 10_000, 'what came twice is stored once');
  assert.equal(messages[0].subject, 'readings.api');
});

test('messages without a stream reach who listens, and two integrations of an event are two messages of a stream', { timeout: 45_000, skip }, async (t) => {
  const nats = await Nats.start(t);
  const world = await scene(t);
  const client = await nats.client(t);
  const heard = [];
  await client.subscribe('plain.>', (message) => heard.push(message));
  const plain = await world.share(config(nats, { subject: 'plain.{{n}}', payload: '{"n":{{n}}, "of": "{{PRODUCT_ID}}"}' }));
  await world.publish(plain.event, 0, 2_000);
  await allArrived(world, plain, 2_000, numbers(heard));
  assert.equal(JSON.parse(heard[0].payload).of, `${world.product.id}`);
  await stream(client, 'TWO', 'two.>');
  const one = await world.share(config(nats, { subject: 'two.one', jetstream: true }));
  const other = await world.share(config(nats, { event: one.event, subject: 'two.other', jetstream: true }));
  await world.publish(one.event, 0, 100);
  for (const each of [one, other]) await allArrived(world, each, 100, () => Array.from({ length: 100 }, (_, n) => n));
  const { state } = await client.ask('STREAM.INFO.TWO', {});
  assert.equal(state.messages, 200);
  const shown = await world.user.api.integration(world.org.scope, one.id);
  assert.match(shown.logs[0].response.body, /"stream":"TWO"/);
  const tested = await world.user.api.want(200, 'POST', `${world.org.scope}/integrations/${one.id}/test`, {});
  assert.equal(tested.pass, true, JSON.stringify(tested));
  assert.ok(!JSON.stringify([plain, one, shown, tested]).includes(USER.password), 'the password is in no answer and no log');
});

test('wrong credentials and missing streams are told clearly, and secrets are shown nowhere', { timeout: 45_000, skip }, async (t) => {
  const nats = await Nats.start(t);
  const world = await scene(t);
  const password = 'not-the-password';
  await failsWith(world, await world.share(config(nats, { password })), /^error -ERR from 127\.0\.0\.1: Authorization Violation$/, password);
  const none = { jetstream: true, subject: 'nobody', retry: { delays: [] } };
  await failsWith(world, await world.share(config(nats, none)), /^error status 503 from 127\.0\.0\.1: no stream takes this subject$/, USER.password);
});

test('certificates are asked for and shown', { timeout: 45_000, skip }, async (t) => {
  const nats = await Nats.start(t, { tls: true });
  await needsCertificates(await scene(t), config(nats, { url: nats.secure }), nats.pem);
});

test('a user may be known by a key, and by a token and a key', { timeout: 45_000, skip }, async (t) => {
  const { config: lines, creds, jwt, seed } = byTokens();
  const [nats, strict] = [await Nats.start(t), await Nats.start(t, { lines })];
  const world = await scene(t);
  const none = { username: undefined, password: undefined };
  const made = [
    [await world.share(config(nats, { ...none, nkey: NKEY.seed })), [NKEY.seed]],
    [await world.share(config(strict, { ...none, creds })), [jwt, seed]],
  ];
  for (const [integration, secrets] of made) {
    await world.publish(integration.event, 0, 20);
    await allArrived(world, integration, 20, () => Array.from({ length: 20 }, (_, n) => n));
    const shown = await world.user.api.integration(world.org.scope, integration.id);
    for (const secret of secrets) assert.ok(!JSON.stringify([integration, shown]).includes(secret) && !world.server.log().includes(secret));
  }
  const other = NKEY.seed.replace('ACSSL', 'ACSSM');
  const refused = await world.user.api.want(400, 'POST', `${world.org.scope}/integrations`, {
    event: 'x', ...config(nats, { ...none, nkey: other }), product_ids: [world.product.id],
  });
  assert.match(JSON.stringify(refused), /nkey/);
  await eventually(() => assert.ok(!world.server.log().includes(other)));
});
