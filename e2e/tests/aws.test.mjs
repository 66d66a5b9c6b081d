// The kinds of AWS against moto, where signatures and permissions are checked in all tests but those that count; read
// back with Amazon's own library.
import assert from 'node:assert/strict';
import test from 'node:test';
import { AFTER_OUTAGE_MS, WITH_OUTAGE_MS, allArrived, failsWith, outage, scene } from '../lib/broker.mjs';
import { Gate } from '../lib/gate.mjs';
import { Moto, skip } from '../lib/moto.mjs';

const REGION = 'eu-west-1';

/** The three kinds: a configuration, and the queue where what arrived is read if not in the stream. */
const KINDS = {
  AwsSqs: { config: (moto) => ({ queue_url: moto.queues.readings, region: REGION }), queue: 'readings' },
  AwsKinesis: { config: () => ({ stream: 'readings', region: REGION }) },
  AwsEventBridge: { config: () => ({ event_bus: 'plant', region: REGION }), queue: 'bus' },
};
const config = (moto, kind, change = {}) => ({ integration_type: kind, ...KINDS[kind].config(moto), ...moto.writer, ...change });

/** The readings in messages: of SQS the data itself, of the others in an object. */
const number = ({ body }) => {
  const parsed = JSON.parse(body);
  const event = parsed.detail ?? parsed;
  return event.n ?? JSON.parse(event.data).n;
};

for (const [kind, { queue }] of Object.entries(KINDS)) {
  test(`ten thousand events arrive at ${kind} and are counted, also when it is away for a while`, { timeout: WITH_OUTAGE_MS, skip }, async (t) => {
    const moto = await Moto.start(t);
    const gate = await Gate.start(t, new URL(moto.url).port);
    const world = await scene(t, { ...moto.env, TRIBUTARY_TARGETS__AWS__ENDPOINT: `http://127.0.0.1:${gate.port}` });
    const messages = queue && moto.listen(t, queue);
    const integration = await world.share(config(moto, kind));
    await world.publish(integration.event, 0, 5_000);
    await gate.close();
    await world.publish(integration.event, 5_000, 10_000);
    await outage();
    await gate.open();
    await allArrived(world, integration, 10_000, () => (messages ?? moto.readStream('readings')).map(number), AFTER_OUTAGE_MS);
  });
}

test('a service that hangs is given up and tried again', { timeout: WITH_OUTAGE_MS, skip }, async (t) => {
  const moto = await Moto.start(t);
  const world = await scene(t, { ...moto.env, TRIBUTARY_DELIVERY__TIMEOUT: '1s' });
  const integration = await world.share(config(moto, 'AwsKinesis'));
  moto.daemon.signal('SIGSTOP');
  await world.publish(integration.event, 0, 1_000);
  await outage();
  moto.daemon.signal('SIGCONT');
  await allArrived(world, integration, 1_000, () => moto.readStream('readings').map(number), AFTER_OUTAGE_MS);
});

test('queues in order, attributes, templates and the test button', { timeout: 60_000, skip }, async (t) => {
  const moto = await Moto.start(t, { checks: true });
  const world = await scene(t, moto.env);
  const messages = moto.listen(t, 'ordered.fifo');
  const ordered = await world.share(config(moto, 'AwsSqs', {
    queue_url: moto.queues['ordered.fifo'], attributes: { site: 'north-{{n}}' }, payload: '{"n": {{n}}}',
  }));
  await world.publish(ordered.event, 0, 100);
  await allArrived(world, ordered, 100, () => messages.map(number));
  assert.equal(messages.length, 100, 'each once');
  const [first] = messages.filter((message) => number(message) === 7);
  assert.equal(first.system.MessageGroupId, 'api');
  assert.deepEqual([first.attributes.site, first.attributes.device_id], ['north-7', 'api']);
  assert.equal(first.attributes.product_id, `${world.product.id}`);
  const tested = await world.user.api.want(200, 'POST', `${world.org.scope}/integrations/${ordered.id}/test`, {});
  assert.equal(tested.pass, true, JSON.stringify(tested));
  const keyed = await world.share(config(moto, 'AwsKinesis', { partition_key: 'room-{{n}}', payload: '{"n": {{n}}}' }));
  await world.publish(keyed.event, 0, 100);
  let records;
  await allArrived(world, keyed, 100, () => (records = moto.readStream('readings')).map(number));
  assert.equal(new Set(records.map((record) => record.key)).size, 100);
  const shown = await world.user.api.integration(world.org.scope, ordered.id);
  assert.equal(shown.secret_access_key, '[[SENSITIVE]]');
  const secret = moto.writer.secret_access_key;
  assert.ok(!JSON.stringify([ordered, keyed, shown, tested]).includes(secret), 'the secret is in no answer and no log');
});

test('what AWS refuses is told clearly, and no secret is shown', { timeout: 60_000, skip }, async (t) => {
  const moto = await Moto.start(t, { checks: true });
  const world = await scene(t, moto.env);
  const { secret_access_key: secret } = moto.writer;
  const none = 'QueueDoesNotExist: The specified queue does not exist';
  await failsWith(world, await world.share(config(moto, 'AwsSqs', { queue_url: `${moto.url}/123456789012/none` })), new RegExp(`^error status 400 from 127\\.0\\.0\\.1: ${none}`), secret);
  await failsWith(world, await world.share(config(moto, 'AwsKinesis', { stream: 'none' })), /^error status 400 from 127\.0\.0\.1: ResourceNotFoundException: Stream none/, secret);
  for (const kind of Object.keys(KINDS)) {
    const wrong = { ...moto.writer, secret_access_key: 'not-the-secret-of-it' };
    for (const [key, code] of [[wrong, 'SignatureDoesNotMatch'], [moto.nobody, 'AccessDenied']]) {
      const integration = await world.share(config(moto, kind, key));
      await failsWith(world, integration, /^error status 403 from 127\.0\.0\.1/, key.secret_access_key);
      const { logs } = await world.user.api.integration(world.org.scope, integration.id);
      assert.ok(JSON.stringify(logs[0]).includes(code), `${kind}: ${code} is in the reply that the log shows`);
    }
  }
});

test('a key of the server signs where an integration has none', { timeout: 45_000, skip }, async (t) => {
  const moto = await Moto.start(t, { checks: true });
  const key = { AWS_ACCESS_KEY_ID: moto.writer.access_key_id, AWS_SECRET_ACCESS_KEY: moto.writer.secret_access_key };
  const world = await scene(t, { ...moto.env, ...key, TRIBUTARY_TARGETS__AWS__USE_ENVIRONMENT: 'true' });
  const integration = await world.share(config(moto, 'AwsKinesis', { access_key_id: undefined, secret_access_key: undefined }));
  await world.publish(integration.event, 0, 50);
  await allArrived(world, integration, 50, () => moto.readStream('readings').map(number));
  const elsewhere = { ...config(moto, 'AwsSqs', { access_key_id: undefined, secret_access_key: undefined }), event: 'x', product_ids: [world.product.id] };
  const refused = await world.user.api.req('POST', `${world.org.scope}/integrations`, { json: elsewhere });
  assert.equal(refused.status, 400, refused.text);
  assert.match(refused.text, /queue_url/);
});
