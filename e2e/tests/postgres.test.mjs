// The kind Postgres against a PostgreSQL server.
import assert from 'node:assert/strict';
import test from 'node:test';
import { AFTER_OUTAGE_MS, WITH_OUTAGE_MS, allArrived, failsWith, needsCertificates, outage, scene } from '../lib/broker.mjs';
import { DATABASE, Postgres, USER, skip } from '../lib/postgres.mjs';
import { eventually } from '../lib/wait.mjs';

const COLUMNS = { event_id: '{{PARTICLE_EVENT_ID}}', device: '{{{PARTICLE_DEVICE_ID}}}', n: '{{n}}', at: '{{PARTICLE_PUBLISHED_AT}}', note: '{{{note}}}' };
const config = (postgres, change = {}) => ({
  integration_type: 'Postgres', url: postgres.url, database: DATABASE, table: 'public.readings', columns: COLUMNS,
  tls: { ca: postgres.pem.cert }, ...USER, ...change,
});
const numbers = (postgres) => () => postgres.run('SELECT n FROM readings').map(([n]) => Number(n));

test('ten thousand events are rows and are counted, also when the server is away for a while', { timeout: WITH_OUTAGE_MS, skip }, async (t) => {
  const postgres = await Postgres.start(t);
  const world = await scene(t);
  const integration = await world.share(config(postgres));
  await world.publish(integration.event, 0, 5_000);
  await postgres.daemon.stop();
  await world.publish(integration.event, 5_000, 10_000);
  await outage();
  await postgres.daemon.start();
  await allArrived(world, integration, 10_000, numbers(postgres), AFTER_OUTAGE_MS);
  assert.deepEqual(postgres.run('SELECT count(*), count(DISTINCT n), count(note) FROM readings'), [['10000', '10000', '0']]);
  assert.deepEqual(postgres.run("SELECT device, extract(year FROM at) >= 2024 FROM readings WHERE n = 0"), [['api', 't']]);
});

test('rows that wait are one transaction, and one that the table refuses fails by itself', { timeout: 45_000, skip }, async (t) => {
  const postgres = await Postgres.start(t);
  const world = await scene(t);
  const integration = await world.share(config(postgres));
  await world.publish(integration.event, 0, 1_000, (n) => ({ n: n % 100 === 7 ? 'seven' : n }));
  await eventually(async () => {
    const { total } = await world.user.api.history(world.org.scope, integration.id);
    assert.deepEqual(total, { success: 990, error: 10, skipped: 0 });
  });
  assert.deepEqual(postgres.run('SELECT count(*) FROM readings'), [['990']]);
  const [[transactions]] = postgres.run('SELECT count(DISTINCT xmin::text) FROM readings');
  assert.ok(Number(transactions) < 400, `${transactions} transactions for 990 rows`);
  const { logs } = await world.user.api.integration(world.org.scope, integration.id);
  const errors = logs.filter((row) => row.outcome === 'error');
  assert.equal(errors.length, 10);
  for (const row of errors) assert.match(row.error, /^error SQLSTATE 22P02 from 127\.0\.0\.1: .*"seven"/);
});

test('without TLS, with an older password, with any text, and with the test button', { timeout: 45_000, skip }, async (t) => {
  const postgres = await Postgres.start(t);
  const world = await scene(t);
  const plain = await world.share(config(postgres, { ssl: false, tls: undefined, columns: { ...COLUMNS, event_id: 'plain-{{n}}' } }));
  const older = await world.share(config(postgres, { username: 'older', columns: { ...COLUMNS, event_id: 'older-{{n}}' } }));
  for (const { event } of [plain, older]) await world.publish(event, 0, 200);
  for (const each of [plain, older]) await allArrived(world, each, 200, numbers(postgres));
  assert.deepEqual(postgres.run('SELECT count(*) FROM readings'), [['400']]);
  const note = "Robert'); DROP TABLE readings; -- \\ \u{1f600} $1";
  await world.user.js.publishEvent({ name: plain.event, data: JSON.stringify({ n: 1_000, note }), product: world.product.id });
  await allArrived(world, plain, 201, () => Array.from({ length: 201 }, (_, n) => n));
  assert.deepEqual(postgres.run('SELECT note FROM readings WHERE n = 1000'), [[note]]);
  const tested = await world.user.api.want(200, 'POST', `${world.org.scope}/integrations/${older.id}/test`, {});
  assert.equal(tested.pass, true, JSON.stringify(tested));
  const shown = await world.user.api.integration(world.org.scope, older.id);
  assert.ok(!JSON.stringify([plain, older, shown, tested]).includes(USER.password), 'the password is in no answer and no log');
});

test('what the server refuses is told clearly, and the password is shown nowhere', { timeout: 45_000, skip }, async (t) => {
  const postgres = await Postgres.start(t);
  const world = await scene(t);
  const password = 'not-the-password';
  const fails = async (change, text) => failsWith(world, await world.share(config(postgres, { password: USER.password, ...change })), text, change.password ?? USER.password);
  await fails({ password }, /^error SQLSTATE 28P01 from 127\.0\.0\.1: password authentication failed for user "tributary"$/);
  await fails({ password, username: 'older' }, /^error SQLSTATE 28P01 from 127\.0\.0\.1: /);
  await fails({ table: 'nothing' }, /^error SQLSTATE 42P01 from 127\.0\.0\.1: relation "nothing" does not exist$/);
  await fails({ columns: { ...COLUMNS, n: 'many' } }, /^error SQLSTATE 22P02 from 127\.0\.0\.1: /);
  await fails({ columns: { event_id: 'x' } }, /^error SQLSTATE 23502 from 127\.0\.0\.1: /);
  postgres.run("INSERT INTO readings (event_id, device) VALUES ('there', 'd')");
  await fails({ on_conflict: 'error', columns: { ...COLUMNS, event_id: 'there' } }, /^error SQLSTATE 23505 from 127\.0\.0\.1: /);
});

test('certificates are asked for and shown', { timeout: 45_000, skip }, async (t) => {
  const postgres = await Postgres.start(t);
  const unknown = /^error SQLSTATE 28000 from 127\.0\.0\.1: connection requires a valid client certificate$/;
  await needsCertificates(await scene(t), config(postgres, { username: 'certified' }), postgres.pem, unknown);
});
