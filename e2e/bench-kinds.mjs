// Throughput of a release build to each kind of destination, and beside it the same work by the peer's own client.
//   node e2e/bench-kinds.mjs             every kind whose peer is installed
//   node e2e/bench-kinds.mjs Mqtt Nats   those
// BENCH_N events (of the fastest kinds five times as many), BENCH_ROUNDS rounds. Compare only figures of the same machine and the same hour.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { BODY, KINDS, MANY, reading } from './lib/bench_peers.mjs';
import { scene } from './lib/broker.mjs';
import { inParallel } from './lib/wait.mjs';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const LIB = path.join(ROOT, 'e2e/lib');
const PYTHON = path.join(ROOT, 'target/tools/bin/python');
const EVENTS = Number(process.env.BENCH_N ?? '10000');
const ROUNDS = Number(process.env.BENCH_ROUNDS ?? '3');
/** Events before those that are measured: connections are made then. */
const WARM_UP = 1_000;
/** Events in a batch, and batches that are published at once. */
const BATCH = 1_000;
const PUBLISHERS = 4;
/** How often the history is looked at, in milliseconds, or as a share of the time so far if that is more. */
const POLL_MS = 20;
const POLL_SHARE = 0.02;
/** How long a round may take, in milliseconds. */
const WITHIN_MS = 170_000;
/** Deliveries of a destination that tributary has under way at once. */
const AT_ONCE = 64;
process.env.TRIBUTARY_BIN ??= path.join(ROOT, 'target/release/tributary');

const countOf = (kind) => EVENTS * (KINDS[kind].times ?? 1);

/** What stands for a test in the parts of it that peers use: `after` says what ends them, the last first. */
async function within(work) {
  const ends = [];
  try {
    return await work({ after: (end) => ends.push(end) });
  } finally {
    for (const end of ends.reverse()) await end();
  }
}

/** Processor time of a process so far, in seconds: fields 14 and 15 of its `stat`, in hundredths. */
function cpuOf(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

/** Batches of events, made before time is taken. */
const batches = (event, from, count, data) => Array.from({ length: Math.ceil(count / BATCH) }, (_, batch) =>
  Array.from({ length: Math.min(BATCH, count - batch * BATCH) }, (_, n) =>
    JSON.stringify({ name: event, data: JSON.stringify(data(from + batch * BATCH + n)) })).join('\n'));

/** From the first publish until the history counts all: `{perSecond, cpu}`, the latter in µs an event. */
async function tributary(kind, { env, config, data = reading }) {
  const count = countOf(kind);
  return within(async (t) => {
    const { server, user, org, product, share } = await scene(t, env);
    const { id, event } = await share({ integration_type: kind, ...config });
    const publish = (bodies) => inParallel(bodies, PUBLISHERS, async (body) => {
      const answer = await user.api.req('POST', `${product.scope}/events/batch`, { body, headers: { 'content-type': 'application/x-ndjson' } });
      assert.equal(answer.body?.ok, true, answer.text.slice(0, 300));
    });
    const delivered = async (success) => {
      const asked = performance.now();
      for (;;) {
        const { total } = await user.api.history(org.scope, id);
        assert.deepEqual([total.error, total.skipped], [0, 0], kind);
        if (total.success === success) return;
        const waited = performance.now() - asked;
        assert.ok(waited < WITHIN_MS, `${kind}: ${total.success} of ${success} in time`);
        // Each look costs the server a millisecond of processor time: the longer it takes, the fewer.
        await pause(Math.max(POLL_MS, waited * POLL_SHARE));
      }
    };
    await publish(batches(event, 0, WARM_UP, data));
    await delivered(WARM_UP);
    const bodies = batches(event, WARM_UP, count, data);
    const [started, used] = [performance.now(), cpuOf(server.pid)];
    await publish(bodies);
    await delivered(WARM_UP + count);
    return { perSecond: count / ((performance.now() - started) / 1_000), cpu: ((cpuOf(server.pid) - used) / count) * 1e6 };
  });
}

/** The same by the service's own client. */
async function client(kind, job, script) {
  const file = path.join(LIB, script);
  const command = script.endsWith('.py') ? PYTHON : process.execPath;
  const count = countOf(kind);
  const told = JSON.stringify({ count, ...(script.endsWith('.py') ? { kind, body: BODY } : { width: AT_ONCE }), ...job });
  const { stdout } = await promisify(execFile)(command, [file, told], { timeout: WITHIN_MS });
  const { client: name, in_flight: inFlight, seconds, cpu_seconds: cpu } = JSON.parse(stdout);
  return { name, inFlight, perSecond: count / seconds, cpu: (cpu / count) * 1e6 };
}

/** A fresh peer for tributary, and one for each client: some become slower the more they have. */
async function round(kind) {
  const { start } = KINDS[kind];
  const { ours, jobs, theirs } = await within(async (t) => {
    const peer = await start(t);
    const measured = await tributary(kind, peer);
    if (peer.jobs) return { ours: measured, jobs: peer.jobs, theirs: [] };
    return { ours: measured, jobs: [], theirs: [await client(kind, peer.again(), 'own_client.mjs')] };
  });
  for (const at of jobs.keys()) theirs.push(await within(async (t) => client(kind, (await start(t)).jobs[at], 'own_clients.py')));
  return { ours, theirs };
}

const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
const whole = (value) => Math.round(value).toLocaleString('en');
const rows = [];
const asked = process.argv.slice(2);
const unknown = asked.find((kind) => !KINDS[kind]);
if (unknown) throw new Error(`${unknown} is not known; there are ${Object.keys(KINDS).join(', ')}`);

for (const kind of asked.length ? asked : Object.keys(KINDS)) {
  if (KINDS[kind].skip) {
    console.log(`${kind}: ${KINDS[kind].skip}`);
    continue;
  }
  const rounds = [];
  for (let number = 1; number <= ROUNDS; number += 1) {
    const { ours, theirs } = await round(kind);
    rounds.push({ ours, theirs });
    console.log(`${kind}, round ${number}: ${whole(ours.perSecond)}/s; ${theirs.map((one) => `${one.name} ${whole(one.perSecond)}/s`).join('; ')}`);
  }
  const ours = (figure) => median(rounds.map((one) => one.ours[figure]));
  rounds[0].theirs.forEach(({ name, inFlight }, at) => {
    const theirs = (figure) => median(rounds.map((one) => one.theirs[at][figure]));
    const ratio = (ours('perSecond') / theirs('perSecond')).toFixed(2);
    rows.push([kind, whole(ours('perSecond')), whole(theirs('perSecond')), ratio, whole(ours('cpu')), whole(theirs('cpu')), name, inFlight]);
  });
}

const [{ model }] = os.cpus();
console.log(`\n${os.cpus().length} cores, ${model}; ${whole(EVENTS)} events, of Mqtt, Nats, Postgres and Kafka ${MANY} times as many; median of ${ROUNDS} rounds\n`);
console.log('| kind | tributary, events/s | client, messages/s | ratio | CPU of tributary, µs an event | of the client | client | in flight |');
console.log('|---|---|---|---|---|---|---|---|');
for (const row of rows) console.log(`| ${row.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`);
