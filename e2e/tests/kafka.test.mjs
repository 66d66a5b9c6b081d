// The kind Kafka against librdkafka's embedded test broker, read back with librdkafka's consumer.
import assert from 'node:assert/strict';
import test from 'node:test';
import { AFTER_OUTAGE_MS, WITH_OUTAGE_MS, allArrived, failsWith, outage, scene } from '../lib/broker.mjs';
import { Kafka, NOT_ALLOWED, PRODUCE, TOO_LARGE, UNKNOWN_TOPIC, skip } from '../lib/kafka.mjs';
import { freePort } from '../lib/server.mjs';

const number = (record) => JSON.parse(record.value).n;
const numbers = (records) => () => records.map(number);
const config = (kafka, change = {}) => ({ integration_type: 'Kafka', brokers: kafka.brokers, topic: 'readings', ssl: false, ...change });

test('ten thousand events arrive and are counted, also when the cluster is away for a while', { timeout: WITH_OUTAGE_MS, skip }, async (t) => {
  const kafka = await Kafka.start(t);
  const world = await scene(t);
  const records = kafka.read(t, 'readings');
  const integration = await world.share(config(kafka, { key: 'room-{{n}}' }));
  await world.publish(integration.event, 0, 5_000);
  await kafka.do('down');
  await world.publish(integration.event, 5_000, 10_000);
  await outage();
  await kafka.do('up');
  await allArrived(world, integration, 10_000, numbers(records), AFTER_OUTAGE_MS);
  assert.equal(new Set(records.map((record) => record.partition)).size, 7, 'all partitions have some');
  const ids = new Map();
  for (const record of records) {
    assert.equal(ids.get(record.headers.delivery_id) ?? number(record), number(record), 'a consumer can drop what comes twice');
    ids.set(record.headers.delivery_id, number(record));
  }
  assert.equal(ids.size, 10_000);
});

test('a cluster that hangs is given up and tried again', { timeout: WITH_OUTAGE_MS, skip }, async (t) => {
  const kafka = await Kafka.start(t);
  const world = await scene(t, { TRIBUTARY_DELIVERY__TIMEOUT: '1s' });
  const records = kafka.read(t, 'readings');
  const integration = await world.share(config(kafka));
  await world.publish(integration.event, 0, 500);
  kafka.signal('SIGSTOP');
  await world.publish(integration.event, 500, 1_000);
  await outage();
  kafka.signal('SIGCONT');
  await allArrived(world, integration, 1_000, numbers(records), AFTER_OUTAGE_MS);
});

test('records are in the partitions where other producers put their keys, whatever the compression', { timeout: 60_000, skip }, async (t) => {
  const kafka = await Kafka.start(t);
  const world = await scene(t);
  const keys = Array.from({ length: 300 }, (_, n) => `room-${n}-${'x'.repeat(n % 9)}é`);
  await kafka.do('create', 'theirs');
  const theirs = kafka.place('theirs', keys);
  assert.equal(Object.keys(theirs).length, keys.length);
  for (const compression of ['none', 'gzip', 'snappy']) {
    const topic = `readings-${compression}`;
    await kafka.do('create', topic);
    const records = kafka.read(t, topic);
    const integration = await world.share(config(kafka, { compression, topic, key: '{{{k}}}', batch: { max_wait_ms: 100 } }));
    const body = keys.map((k, n) => JSON.stringify({ name: integration.event, data: JSON.stringify({ n, k }) })).join('\n');
    const headers = { 'content-type': 'application/x-ndjson' };
    const answer = await world.user.api.req('POST', `${world.product.scope}/events/batch`, { body, headers });
    assert.equal(answer.body?.ok, true, answer.text.slice(0, 300));
    await allArrived(world, integration, keys.length, numbers(records));
    for (const record of records) {
      assert.equal(record.key, keys[number(record)]);
      assert.equal(record.partition, theirs[record.key], record.key);
    }
  }
});

test('a leader that has moved is found without a failed attempt', { timeout: 45_000, skip }, async (t) => {
  const kafka = await Kafka.start(t);
  const world = await scene(t);
  const records = kafka.read(t, 'readings');
  const integration = await world.share(config(kafka, { retry: { delays: [] } }));
  for (const leader of [1, 2, 3]) {
    await kafka.do('lead', 'readings', leader);
    await world.publish(integration.event, 100 * (leader - 1), 100 * leader);
    await allArrived(world, integration, 100 * leader, numbers(records));
  }
});

test('templates, headers, the time of the event and the test button', { timeout: 45_000, skip }, async (t) => {
  const kafka = await Kafka.start(t);
  const world = await scene(t);
  const records = kafka.read(t, 'readings');
  const integration = await world.share(config(kafka, {
    topic: '{{{t}}}', key: '', payload: '{"n": {{n}}, "of": "{{PRODUCT_ID}}"}', headers: { site: 'north-{{n}}', 'X-Api-Key': 'h0sh-key' },
  }));
  const started = Date.now();
  await world.user.js.publishEvent({ name: integration.event, data: '{"n":0,"t":"readings"}', product: world.product.id });
  await allArrived(world, integration, 1, numbers(records));
  const [record] = records;
  assert.deepEqual([record.key, record.headers.site, record.headers.device_id], ['api', 'north-0', 'api']);
  assert.equal(JSON.parse(record.value).of, `${world.product.id}`);
  assert.equal(record.headers.product_id, `${world.product.id}`);
  assert.equal(record.headers.event, integration.event);
  assert.ok(Math.abs(record.timestamp - started) < 30_000, 'the event\'s own time');
  assert.equal(new Date(record.headers.published_at).getTime(), record.timestamp);
  const body = { data: '{"n":1,"t":"readings"}' };
  const tested = await world.user.api.want(200, 'POST', `${world.org.scope}/integrations/${integration.id}/test`, body);
  assert.equal(tested.pass, true, JSON.stringify(tested));
  const shown = await world.user.api.integration(world.org.scope, integration.id);
  assert.equal(shown.headers['X-Api-Key'], '[[SENSITIVE]]');
  assert.match(JSON.stringify(shown.logs[0]), /"Offset"/, 'the log says where a record is');
  assert.ok(!JSON.stringify([integration, shown, tested]).includes('h0sh-key'), 'the key is in no answer and no log');
  assert.ok(!world.server.log().includes('h0sh-key'), 'nor in the log of the server');
});

test('what the cluster refuses is told clearly, and no secret is shown', { timeout: 60_000, skip }, async (t) => {
  const kafka = await Kafka.start(t);
  const world = await scene(t);
  const fails = async (change, text) => failsWith(world, await world.share(config(kafka, { retry: { delays: [] }, ...change })), text, 'h0sh-pw');
  await kafka.do('fail', 'nowhere', UNKNOWN_TOPIC);
  await fails({ topic: 'nowhere' }, /^error UNKNOWN_TOPIC_OR_PARTITION from 127\.0\.0\.1: there is no such topic$/);
  await kafka.do('fail', 'theirs', NOT_ALLOWED);
  await fails({ topic: 'theirs' }, /^error TOPIC_AUTHORIZATION_FAILED from 127\.0\.0\.1: the user may not write to the topic$/);
  await kafka.do('fail_next', PRODUCE, TOO_LARGE);
  await fails({}, /^error MESSAGE_TOO_LARGE from 127\.0\.0\.1: it is larger than the topic allows$/);
  // This cluster offers no credentials at all.
  const account = { sasl: 'SCRAM-SHA-512', username: 'u', password: 'h0sh-pw' };
  await fails(account, /^error UNSUPPORTED_VERSION from 127\.0\.0\.1: /);
  await fails({ ssl: true }, /^(EPROTO|ECONNRESET)/);
  await fails({ brokers: `127.0.0.1:${await freePort()}` }, /^ECONNREFUSED$/);
  const body = { ...config(kafka), ...account, sasl: 'PLAIN', event: 'x', product_ids: [world.product.id] };
  const refused = await world.user.api.req('POST', `${world.org.scope}/integrations`, { json: body });
  assert.equal(refused.status, 400, refused.text);
  assert.match(refused.text, /PLAIN sends the password as it is/);
  assert.ok(!refused.text.includes('h0sh-pw'));
});
