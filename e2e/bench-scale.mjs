// How a release build behaves when there is much of something: integrations, waiting events, batches, slow receivers, load.
// The harness is the folder of BENCH_DIR, or ../shared/bench beside the checkout. Takes about a quarter of an hour.
//   node e2e/bench-scale.mjs                  every part
//   node e2e/bench-scale.mjs batches pending  those parts
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import os, { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { request } from './lib/api.mjs';
import { LOOPBACK, Server, freePort } from './lib/server.mjs';
import { eventually } from './lib/wait.mjs';
import { shareWebhook, threeProducts } from './lib/world.mjs';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const HARNESS = process.env.BENCH_DIR ?? path.join(ROOT, '../shared/bench');
const TARGET = path.join(ROOT, 'target/bench');
const N = Number(process.env.BENCH_N ?? '40000');
const PENDING = Number(process.env.BENCH_PENDING ?? '1000000');
const INTEGRATIONS = Number(process.env.BENCH_INTEGRATIONS ?? '100000');
const ROUNDS = Number(process.env.BENCH_ROUNDS ?? '3');

if (!existsSync(path.join(HARNESS, 'Cargo.toml'))) {
  console.error(`no load harness at ${HARNESS}: set BENCH_DIR to its folder`);
  process.exit(1);
}
process.env.TRIBUTARY_BIN ??= path.join(ROOT, 'target/release/tributary');
execFileSync('cargo', ['build', '--release', '--locked', '--quiet', '--manifest-path', path.join(HARNESS, 'Cargo.toml')], {
  env: { ...process.env, CARGO_TARGET_DIR: TARGET }, stdio: 'inherit',
});
const program = (name) => path.join(TARGET, 'release', name);

/** Starts a program of the harness and waits until it listens. */
async function start(name, args, address) {
  const child = spawn(program(name), args, { stdio: ['ignore', 'ignore', 'inherit'] });
  const gone = new Promise((resolve) => { child.once('exit', resolve); });
  await eventually(() => fetch(`http://${address}/stats`).then((answer) => answer.arrayBuffer()), { every: 50 });
  return { pid: child.pid, stop: async () => { child.kill('SIGKILL'); await gone; } };
}

const publish = (args) =>
  JSON.parse(execFileSync(program('pub'), ['--c', '64', ...args], { encoding: 'utf8', maxBuffer: 1 << 26 }).trim().split('\n').at(-1));

/** Resident memory of a process now, in MiB. */
const memoryOf = (pid) => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1]) / 1024;

const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
const rows = [];
const row = (figure, value) => { rows.push([figure, value]); console.log(`${figure}: ${value}`); };
const figure = (value, digits = 0) => value.toLocaleString('en', { maximumFractionDigits: digits });

const sink = `127.0.0.1:${await freePort()}`;
// Publishing blocks this process, and a connection that is kept may be closed meanwhile without its noticing.
const reset = (address, query) =>
  fetch(`http://${address}/reset${query}`, { method: 'POST', headers: { connection: 'close' } }).then((answer) => answer.arrayBuffer());
const resetSink = (query = '') => reset(sink, query);
const JSON_TEMPLATE = { id: '{{{PARTICLE_EVENT_VALUE}}}', device: '{{{PARTICLE_DEVICE_ID}}}', at: '{{{PARTICLE_PUBLISHED_AT}}}' };

/** A server with three products and one webhook shared by them; `args` publish to it. */
async function scene(env = {}, change = {}) {
  const server = await Server.launch({ ...LOOPBACK, ...env });
  const world = await threeProducts(server.base);
  const hook = await shareWebhook(world, { url: (at) => `http://${sink}${at}` }, undefined, { json: JSON_TEMPLATE, noDefaults: true, ...change });
  const [product] = world.products;
  const args = ['--url', `${server.base}${product.scope}/events`, '--token', world.user.token, '--warmup', '1000',
    '--body', JSON.stringify({ name: hook.event, data: '@ID@' })];
  return { server, world, hook, product, args };
}

/** Batches of 1,000 lines over a few connections; gives events per second. */
async function batches({ server, world, product, hook }, count, data = () => 'x') {
  const sending = 4;
  let next = 0;
  const started = process.hrtime.bigint();
  const send = async () => {
    while (next < count) {
      next += 1;
      const lines = Array.from({ length: 1000 }, (_, at) => `{"name":"${hook.event}","data":"${data(next, at)}"}`).join('\n');
      const answer = await request(server.base, 'POST', `${product.scope}/events/batch`, {
        token: world.user.token, body: lines, headers: { 'content-type': 'application/x-ndjson' },
      });
      if (answer.status !== 200 || !answer.body.ok) throw new Error(`a batch got ${answer.status}: ${answer.text.slice(0, 200)}`);
    }
  };
  await Promise.all(Array.from({ length: sending }, send));
  return (count * 1000) / (Number(process.hrtime.bigint() - started) / 1e9);
}

const parts = {
  async idle() {
    const it = await scene();
    // Hashing a password takes 19 MiB, which are given back once the thread that did it has ended.
    await pause(20_000);
    row('memory idle, MiB', figure(memoryOf(it.server.pid), 1));
    await it.server.close();
  },

  async batches() {
    const accepted = [];
    for (let round = 0; round < ROUNDS; round += 1) {
      // Nothing matches, so what is measured is accepting.
      const it = await scene();
      accepted.push(await batches({ ...it, hook: { event: 'other' } }, 300));
      await it.server.close();
    }
    row('accepted per second in batches of 1,000', figure(median(accepted)));
  },

  async singles() {
    const limit = [];
    const ours = [];
    for (let round = 0; round < ROUNDS; round += 1) {
      const it = await scene();
      const args = it.args.map((arg) => (arg.startsWith('{') ? JSON.stringify({ name: 'other', data: '@ID@' }) : arg));
      ours.push(publish([...args, '--n', String(N)]).accepted_per_s);
      await it.server.close();
      const dir = await mkdtemp(path.join(tmpdir(), 'tributary-bench-'));
      const address = `127.0.0.1:${await freePort()}`;
      // Without workers it accepts and delivers nothing.
      const { stop } = await start('limit', [address, sink, dir, '0'], address);
      limit.push(publish(['--url', `http://${address}/ev`, '--warmup', '1000', '--n', String(N)]).accepted_per_s);
      await stop();
      await rm(dir, { recursive: true, force: true });
    }
    const beside = `limit ${figure(median(limit))}, ratio ${figure(median(ours) / median(limit), 2)}`;
    row('accepted per second, single publishes, nothing to deliver', `${figure(median(ours))} (${beside})`);
  },

  async latency() {
    const it = await scene();
    const fast = publish([...it.args, '--n', String(N), '--sink', `http://${sink}`]);
    for (const [name, share] of [['half', 0.5], ['90 %', 0.9]]) {
      const rate = Math.floor(fast.e2e_per_s * share);
      const latency = publish([...it.args, '--n', String(rate * 5), '--rate', String(rate), '--sink', `http://${sink}`]).e2e_latency_us;
      const { p50, p99, p999 } = latency;
      row(`p50 / p99 / p99.9 at ${name} of the maximum (${figure(rate)}/s), ms`, [p50, p99, p999].map((us) => figure(us / 1000, 2)).join(' / '));
    }
    await it.server.close();
  },

  async fanout() {
    const it = await scene();
    const single = publish([...it.args, '--n', String(N), '--sink', `http://${sink}`]).e2e_per_s;
    for (const at of ['/second', '/third']) {
      await it.world.user.api.want(201, 'POST', `${it.product.scope}/integrations`, { event: it.hook.event, url: `http://${sink}${at}`, json: JSON_TEMPLATE, noDefaults: true });
    }
    const fanned = publish([...it.args, '--n', String(Math.floor(N / 3)), '--per-event', '3', '--sink', `http://${sink}`]);
    row('deliveries per second, one event and three integrations', `${figure(fanned.e2e_per_s)} against ${figure(single)} with one`);
    await it.server.close();
  },

  async slow() {
    const it = await scene();
    await resetSink('?delay_ms=200');
    const started = Date.now();
    const accepted = publish([...it.args.filter((arg) => arg !== '--warmup' && arg !== '1000'), '--n', '6400']).accepted_per_s;
    await eventually(async () => {
      const { unique } = await (await fetch(`http://${sink}/stats`)).json();
      if (unique < 6400) throw new Error('not all arrived');
    }, { within: 120_000, every: 100 });
    row('receiver answers after 200 ms: delivered per second (64 at once allow 320)', `${figure(6400 / ((Date.now() - started) / 1000))}, accepted ${figure(accepted)}`);
    await resetSink('?delay_ms=0');
    await it.server.close();
  },

  async fairness() {
    // A fleet publishes 50 events per second; beside it another account does something that could be in its way.
    const fleet = await scene();
    const neighbour = await threeProducts(fleet.server.base);
    const [theirs] = neighbour.products;
    const second = `127.0.0.1:${await freePort()}`;
    const { stop } = await start('sink', ['--listen', second], second);
    const hook = await shareWebhook(neighbour, { url: (at) => `http://${second}${at}` }, undefined, { json: JSON_TEMPLATE, noDefaults: true });
    const p99 = [];
    for (const [name, behaviour, rate] of [
      ['nothing beside it', '', 0], ['a destination that hangs, 500/s', '?hang_every=1', 500],
      ['a destination that always fails, 500/s', '?hang_every=0&fail_every=1&fail_status=500', 500], ['an account that publishes 5,000/s', '', 5_000],
    ]) {
      await reset(second, behaviour || '?hang_every=0&fail_every=0');
      const seconds = 12 * ROUNDS;
      const busy = rate > 0 && spawn(program('pub'), [
        '--c', '64', '--url', `${fleet.server.base}${theirs.scope}/events`, '--token', neighbour.user.token,
        '--body', JSON.stringify({ name: hook.event, data: '@ID@' }), '--rate', String(rate), '--n', String(rate * seconds),
      ], { stdio: 'ignore' });
      if (busy) await pause(2_000);
      const seen = [];
      for (let round = 0; round < ROUNDS; round += 1) {
        seen.push(publish([...fleet.args, '--n', '500', '--rate', '50', '--sink', `http://${sink}`]).e2e_latency_us);
      }
      if (busy && busy.exitCode === null) busy.kill('SIGKILL');
      const { requests } = await (await fetch(`http://${second}/stats`, { headers: { connection: 'close' } })).json();
      if (busy && !(requests > 0)) throw new Error(`nothing was sent beside it: ${name}`);
      p99.push(median(seen.map((latency) => latency.p99)));
      row(`p50 / p99 of a fleet at 50/s, ms: ${name}`,
        `${figure(median(seen.map((latency) => latency.p50)) / 1000, 2)} / ${figure(p99.at(-1) / 1000, 2)} (p99 ${figure(p99.at(-1) / p99[0], 2)} ×)`);
    }
    await stop();
    await fleet.server.close();
  },

  async console() {
    // Each integration executes on five products.
    const { server, world } = await scene();
    const { user, org } = world;
    const products = await Promise.all(Array.from({ length: 5 }, async (_, at) =>
      (await user.api.want(201, 'POST', `${org.scope}/products`, { product: { name: `Many ${at}` } })).product.id));
    for (let at = 0; at < 500; at += 1) {
      await user.api.want(201, 'POST', `${org.scope}/integrations`, { name: `Integration ${at}`, event: `kind-${at}`, url: `http://${sink}/many`, product_ids: products });
    }
    const answer = await fetch(`${server.base}/sign-in`, {
      method: 'POST', redirect: 'manual', headers: { origin: server.base, 'sec-fetch-site': 'same-origin' },
      body: new URLSearchParams({ username: user.username, password: user.password }),
    });
    const cookie = answer.headers.getSetCookie().map((one) => one.split(';')[0]).join('; ');
    const took = [];
    for (let at = 0; at < 300; at += 1) {
      const started = process.hrtime.bigint();
      const page = await fetch(`${server.base}/orgs/${org.slug}/integrations`, { headers: { cookie } });
      const text = await page.text();
      if (page.status !== 200 || !text.includes('Integration 1')) throw new Error(`no list: ${page.status}`);
      took.push(Number(process.hrtime.bigint() - started) / 1e6);
    }
    took.sort((a, b) => a - b);
    row('first page of the console with 500 integrations, p50 / p99 of 300, ms', `${figure(took[150], 1)} / ${figure(took[296], 1)}`);
    await server.close();
  },

  async integrations() {
    const it = await scene();
    const few = [];
    for (let round = 0; round < ROUNDS; round += 1) few.push(publish([...it.args, '--n', String(N), '--sink', `http://${sink}`]).e2e_per_s);
    const before = memoryOf(it.server.pid);
    const each = 100;
    const owners = Math.ceil(INTEGRATIONS / 5_000);
    for (let owner = 0; owner < owners; owner += 1) {
      const { organization } = await it.world.user.api.want(201, 'POST', '/v1/orgs', { name: `Many ${owner}`, plan: 'enterprise' });
      await Promise.all(Array.from({ length: 50 }, async (_, at) => {
        const { product } = await it.world.user.api.want(201, 'POST', `/v1/orgs/${organization.id}/products`, { product: { name: `Product ${owner} ${at}` } });
        for (let n = 0; n < each; n += 1) {
          await it.world.user.api.want(201, 'POST', `/v1/products/${product.id}/integrations`, { event: `kind-${n}/`, url: `http://${sink}/many`, json: JSON_TEMPLATE, noDefaults: true });
        }
      }));
    }
    row(`memory with ${figure(owners * 5_000)} integrations, MiB`, `${figure(memoryOf(it.server.pid), 1)} (${figure(before, 1)} before)`);
    const many = [];
    for (let round = 0; round < ROUNDS; round += 1) many.push(publish([...it.args, '--n', String(N), '--sink', `http://${sink}`]).e2e_per_s);
    row(`deliveries per second with ${figure(owners * 5_000)} integrations`, `${figure(median(many))} against ${figure(median(few))} with one (${figure(median(many) / median(few), 2)})`);
    await it.server.kill('SIGTERM');
    const started = Date.now();
    await it.server.restart();
    await pause(3_000);
    row('the same after a restart: seconds to ready, memory MiB', `${figure((Date.now() - started - 3_000) / 1000, 2)}, ${figure(memoryOf(it.server.pid), 1)}`);
    await it.server.close();
  },

  async pending() {
    // The destination refuses every connection, so what is accepted waits.
    const closed = await freePort();
    const it = await scene({ TRIBUTARY_DELIVERY__RETRY_DELAYS: '30m,30m' }, { url: `http://127.0.0.1:${closed}/gone` });
    const accepted = await batches(it, PENDING / 1000, (batch, at) => `${batch}-${at}`);
    await pause(5_000);
    row(`memory with ${figure(PENDING)} events pending, MiB`, `${figure(memoryOf(it.server.pid), 1)} (accepted at ${figure(accepted)} per second)`);
    await it.server.kill('SIGKILL');
    const started = Date.now();
    await it.server.restart();
    row(`seconds from start to ready with ${figure(PENDING)} events pending, after SIGKILL`, figure((Date.now() - started) / 1000, 2));
    await it.server.kill('SIGKILL');
    await it.server.close();
  },
};

const { stop: stopSink } = await start('sink', ['--listen', sink], sink);
const asked = process.argv.slice(2);
try {
  for (const [name, run] of Object.entries(parts)) {
    if (asked.length === 0 || asked.includes(name)) await run();
    await resetSink();
  }
} finally {
  await stopSink();
}
const [{ model }] = os.cpus();
console.log(`\n${os.cpus().length} cores, ${model}; ${figure(N)} events, 64 connections, median of ${ROUNDS} rounds where a row can be repeated\n`);
console.log('| figure | measured |\n|---|---|');
for (const [name, value] of rows) console.log(`| ${name} | ${value} |`);
