// The kind GoogleCloudPubSub against a service made of Google's own definition, read back with Google's own library.
import assert from 'node:assert/strict';
import test from 'node:test';
import { AFTER_OUTAGE_MS, WITH_OUTAGE_MS, allArrived, failsWith, listen, outage, scene } from '../lib/broker.mjs';
import { PubSub, skip } from '../lib/pubsub.mjs';
import { eventually } from '../lib/wait.mjs';
import { unique } from '../lib/world.mjs';

const config = (pubsub, change = {}) => ({ integration_type: 'GoogleCloudPubSub', topic: 'projects/p1/topics/readings', credentials: pubsub.robot, ...change });
const numbers = (messages) => () => messages.map((message) => JSON.parse(message.data).n);
/** A part of a private key by which it is found wherever it is, however its lines are broken. */
const part = (account) => account.private_key.split('\n')[1];

test('ten thousand events arrive and are counted, also when the service is away for a while', { timeout: WITH_OUTAGE_MS, skip }, async (t) => {
  const pubsub = await PubSub.start(t, ['readings']);
  const world = await scene(t, pubsub.env);
  const messages = pubsub.listen(t, 'readings');
  const integration = await world.share(config(pubsub));
  await world.publish(integration.event, 0, 5_000);
  await pubsub.gate.close();
  await world.publish(integration.event, 5_000, 10_000);
  await outage();
  await pubsub.gate.open();
  await allArrived(world, integration, 10_000, numbers(messages), AFTER_OUTAGE_MS);
  for (const { attributes } of messages) {
    const { published_at: at, ...rest } = attributes;
    assert.deepEqual(rest, { device_id: 'api', event: integration.event, product_id: `${world.product.id}` });
    assert.ok(Math.abs(Date.parse(at) - Date.now()) < WITH_OUTAGE_MS, at);
  }
  const { requests, tokens } = await pubsub.seen();
  assert.equal(requests.reduce((sum, { messages: count }) => sum + count, 0), messages.length);
  assert.ok(requests.length < 5_000, `${requests.length} requests: they went together`);
  assert.ok(requests.every(({ account }) => account === pubsub.robot.client_email));
  assert.equal(tokens, 1, 'a token is used again');
});

test('requests are as large as the integration says where there are enough events', { timeout: 60_000, skip }, async (t) => {
  const pubsub = await PubSub.start(t, ['readings'], { guarded: false });
  const world = await scene(t, pubsub.env);
  const messages = pubsub.listen(t, 'readings');
  const integration = await world.share(config(pubsub, { credentials: undefined, batch: { max_events: 200, max_wait_ms: 2_000 } }));
  await world.publish(integration.event, 0, 4_000);
  await allArrived(world, integration, 4_000, numbers(messages));
  const { requests } = await pubsub.seen();
  assert.ok(requests.every(({ messages: count }) => count <= 200));
  assert.ok(requests.length <= 40, `${requests.length} requests for 4000 events`);
});

test('payload, attributes, order, a key that is a cloud secret, and the test button', { timeout: 60_000, skip }, async (t) => {
  const pubsub = await PubSub.start(t, ['readings']);
  const world = await scene(t, pubsub.env);
  const messages = pubsub.listen(t, 'readings');
  const { user, org } = world;
  await user.api.want(201, 'POST', `${org.scope}/secrets`, { secret: { name: 'ROBOT', value: JSON.stringify(pubsub.robot, null, 2) } });
  const integration = await world.share(config(pubsub, {
    credentials: '{{{ROBOT}}}', payload: '{"n": {{n}}, "of": "{{{PRODUCT_ID}}}"}', attributes: { site: 'nörd {{n}}', published_at: '' },
    ordering_key: '{{{PARTICLE_DEVICE_ID}}}', concurrency: 1,
  }));
  await world.publish(integration.event, 0, 200);
  await allArrived(world, integration, 200, numbers(messages));
  assert.deepEqual(numbers(messages)(), Array.from({ length: 200 }, (_, n) => n), 'in the order in which they were published');
  const { data, key, attributes } = messages[7];
  assert.deepEqual([JSON.parse(data), key], [{ n: 7, of: `${world.product.id}` }, 'api']);
  assert.deepEqual(attributes, { device_id: 'api', event: integration.event, product_id: `${world.product.id}`, site: 'nörd 7' });
  const tested = await user.api.want(200, 'POST', `${org.scope}/integrations/${integration.id}/test`, {});
  assert.equal(tested.pass, true, JSON.stringify(tested));
  const shown = await user.api.integration(org.scope, integration.id);
  assert.ok(JSON.stringify(shown.logs[0]).includes('messageIds'), 'the log shows the reply');
  for (const text of [JSON.stringify([integration, shown, tested]), world.server.log()]) assert.ok(!text.includes(part(pubsub.robot)), 'the key is shown nowhere');
});

test('each event hears the id of its own message, and what is throttled comes later', { timeout: 60_000, skip }, async (t) => {
  const pubsub = await PubSub.start(t, ['readings'], { guarded: false });
  const world = await scene(t, pubsub.env);
  const messages = pubsub.listen(t, 'readings');
  const integration = await world.share(config(pubsub, { credentials: undefined, responseTopic: `sent-${unique()}`, batch: { max_wait_ms: 200 } }));
  const heard = [];
  const stop = await listen(`${world.server.base}${world.product.scope}/events/${integration.responseTopic}`, world.user.token, heard);
  // Few enough that the destination does not fall asleep.
  for (const [n, fault] of [[429, 'RESOURCE_EXHAUSTED', 'Quota exceeded.'], [503, 'UNAVAILABLE', 'The service is unavailable.']].entries()) {
    await pubsub.fail(fault);
    await world.publish(integration.event, 15 * n, 15 * (n + 1));
    await allArrived(world, integration, 15 * (n + 1), numbers(messages));
  }
  const ids = () => heard.flatMap((reply) => JSON.parse(reply).messageIds);
  await eventually(() => assert.deepEqual(new Set(ids()), new Set(messages.map(({ id }) => id))));
  stop();
  assert.equal(ids().length, 30);
  const { requests } = await pubsub.seen();
  assert.ok(requests.length <= 10, `${requests.length} requests`);
});

test('the service of these tests takes only what the definition knows', { timeout: 30_000, skip }, async (t) => {
  const pubsub = await PubSub.start(t, ['readings'], { guarded: false });
  const publish = async (messages, more = {}) => {
    const init = { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ messages, ...more }) };
    const answer = await fetch(`${pubsub.direct}/v1/projects/p1/topics/readings:publish`, init);
    return [answer.status, (await answer.json()).error?.status];
  };
  const invalid = [400, 'INVALID_ARGUMENT'];
  assert.deepEqual(await publish([{ data: 'eA==', attributes: { a: 'b' }, orderingKey: 'k' }]), [200, undefined]);
  for (const [messages, more] of [
    [[{ data: 'eA==', body: 'x' }]], [[{ data: 'eA==' }], { topics: [] }], [[{ data: 7 }]], [[{ data: 'eA==', attributes: { n: 7 } }]], [[]], [[{}]],
    [[{ data: 'eA==', orderingKey: 'a' }, { data: 'eA==', orderingKey: 'b' }]], [Array(1_001).fill({ data: 'eA==' })], [[{ attributes: { googclient: 'x' } }]],
  ]) assert.deepEqual(await publish(messages, more), invalid, JSON.stringify(messages).slice(0, 80));
});

test('what Google refuses is told clearly, and the key is shown nowhere', { timeout: 60_000, skip }, async (t) => {
  const pubsub = await PubSub.start(t, ['readings']);
  const world = await scene(t, pubsub.env);
  for (const [change, text, account = pubsub.robot] of [
    [{ credentials: pubsub.impostor }, /^error status 400 from 127\.0\.0\.1: invalid_grant: Invalid JWT Signature\.$/, pubsub.impostor],
    [{ credentials: { ...pubsub.robot, client_email: 'nobody@p1' } }, /^error status 400 from 127\.0\.0\.1: invalid_grant: Invalid grant: account not found$/],
    [{ topic: 'projects/p1/topics/denied' }, /^error status 403 from 127\.0\.0\.1: User not authorized to perform this action\.$/],
    [{ topic: 'projects/p1/topics/none' }, /^error status 404 from 127\.0\.0\.1: Resource not found \(resource=none\)\.$/],
    [{ credentials: undefined }, /^error status 401 from 127\.0\.0\.1: Request is missing required authentication credential\./],
  ]) {
    const integration = await world.share(config(pubsub, change));
    assert.equal(integration.credentials ?? '[[SENSITIVE]]', '[[SENSITIVE]]');
    await failsWith(world, integration, text, part(account));
  }
  const bad = { ...config(pubsub, { credentials: { ...pubsub.robot, private_key: 'k3y-of-nobody' } }), event: 'x', product_ids: [world.product.id] };
  const refused = await world.user.api.req('POST', `${world.org.scope}/integrations`, { json: bad });
  assert.equal(refused.status, 400, refused.text);
  assert.match(refused.text, /credentials/);
  assert.ok(!refused.text.includes('k3y-of-nobody'));
});
