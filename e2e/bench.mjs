// Throughput of a release build through one shared webhook, beside the harness's own measure of this machine (`limit`).
// The harness is the folder of BENCH_DIR, or ../shared/bench beside the checkout. BENCH_N events, BENCH_C connections,
// BENCH_ROUNDS rounds. Compare only figures of the same machine and the same hour.
import { execFileSync, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import os, { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { LOOPBACK, Server, freePort } from './lib/server.mjs';
import { eventually } from './lib/wait.mjs';
import { shareWebhook, threeProducts } from './lib/world.mjs';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const HARNESS = process.env.BENCH_DIR ?? path.join(ROOT, '../shared/bench');
const TARGET = path.join(ROOT, 'target/bench');
const N = process.env.BENCH_N ?? '40000';
const C = process.env.BENCH_C ?? '64';
const ROUNDS = Number(process.env.BENCH_ROUNDS ?? '3');
const WARMUP = '1000';

if (!existsSync(path.join(HARNESS, 'Cargo.toml'))) {
  console.error(`no load harness at ${HARNESS}: set BENCH_DIR to its folder`);
  process.exit(1);
}
process.env.TRIBUTARY_BIN ??= path.join(ROOT, 'target/release/tributary');
execFileSync('cargo', ['build', '--release', '--locked', '--quiet', '--manifest-path', path.join(HARNESS, 'Cargo.toml')], {
  env: { ...process.env, CARGO_TARGET_DIR: TARGET }, stdio: 'inherit',
});
const program = (name) => path.join(TARGET, 'release', name);

/** Starts a program of the harness and waits until it listens; gives its process id and a function that ends it. */
async function start(name, args, address) {
  const child = spawn(program(name), args, { stdio: ['ignore', 'ignore', 'inherit'] });
  const gone = new Promise((resolve) => { child.once('exit', resolve); });
  // Any answer will do, also a refusal: it listens.
  await eventually(() => fetch(`http://${address}/stats`).then((answer) => answer.arrayBuffer()), { every: 50 });
  return { pid: child.pid, stop: async () => { child.kill('SIGKILL'); await gone; } };
}

/** Publishes as asked and waits for all events at the sink; gives the harness's report. */
function publish(sink, url, extra) {
  const args = ['--url', url, '--c', C, '--warmup', WARMUP, '--sink', `http://${sink}`, ...extra];
  const report = JSON.parse(execFileSync(program('pub'), args, { encoding: 'utf8' }).trim().split('\n').at(-1));
  if (!report.all_arrived) throw new Error(`not all arrived: ${JSON.stringify(report)}`);
  return report;
}

/** As fast as accepted, and then at a gentle rate: at the highest rate a latency only tells the length of the queue. */
function both(sink, url, extra) {
  const fast = publish(sink, url, ['--n', N, ...extra]);
  const gentle = publish(sink, url, ['--n', '400', '--rate', '50', ...extra]);
  return {
    accepted: fast.accepted_per_s, delivered: fast.e2e_per_s,
    p50: gentle.e2e_latency_us.p50 / 1000, p99: gentle.e2e_latency_us.p99 / 1000,
    memory: fast.procs?.[0]?.peak_rss_mib ?? 0, cpu: fast.procs?.[0]?.cpu_us_per_event ?? 0,
  };
}

async function measureLimit(sink) {
  const dir = await mkdtemp(path.join(tmpdir(), 'tributary-bench-'));
  const address = `127.0.0.1:${await freePort()}`;
  const { stop, pid } = await start('limit', [address, sink, dir, C], address);
  try {
    return both(sink, `http://${address}/ev`, ['--pid', String(pid)]);
  } finally {
    await stop();
    await rm(dir, { recursive: true, force: true });
  }
}

async function measureTributary(sink) {
  const server = await Server.launch(LOOPBACK);
  try {
    const world = await threeProducts(server.base);
    const json = { id: '{{{PARTICLE_EVENT_VALUE}}}', device: '{{{PARTICLE_DEVICE_ID}}}', at: '{{{PARTICLE_PUBLISHED_AT}}}' };
    const hook = await shareWebhook(world, { url: (at) => `http://${sink}${at}` }, undefined, { json, noDefaults: true });
    const [product] = world.products;
    const body = JSON.stringify({ name: hook.event, data: '@ID@' });
    const target = `${server.base}${product.scope}/events`;
    return both(sink, target, ['--token', world.user.token, '--body', body, '--pid', String(server.pid)]);
  } finally {
    await server.close();
  }
}

const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];

const sink = `127.0.0.1:${await freePort()}`;
const { stop: stopSink } = await start('sink', ['--listen', sink], sink);
const rounds = { limit: [], tributary: [] };
try {
  for (let round = 1; round <= ROUNDS; round += 1) {
    for (const [name, measure] of [['limit', measureLimit], ['tributary', measureTributary]]) {
      const figures = await measure(sink);
      rounds[name].push(figures);
      console.log(`round ${round}  ${name.padEnd(9)}  ${Math.round(figures.delivered)} delivered/s, p50 ${figures.p50.toFixed(2)} ms`);
    }
  }
} finally {
  await stopSink();
}

const rows = [
  ['accepted events per second', 'accepted', 0], ['delivered events per second', 'delivered', 0],
  ['p50 from publish to arrival at 50/s, ms', 'p50', 2], ['p99 from publish to arrival at 50/s, ms', 'p99', 2],
  ['CPU time per event, µs', 'cpu', 1], ['peak memory, MiB', 'memory', 1],
];
const [{ model }] = os.cpus();
console.log(`\n${os.cpus().length} cores, ${model}; ${N} events, ${C} connections, median of ${ROUNDS} rounds\n`);
console.log('| figure | limit | tributary | ratio |\n|---|---|---|---|');
for (const [title, key, digits] of rows) {
  const [limit, ours] = [rounds.limit, rounds.tributary].map((list) => median(list.map((figures) => figures[key])));
  console.log(`| ${title} | ${limit.toFixed(digits)} | ${ours.toFixed(digits)} | ${(ours / limit).toFixed(2)} |`);
}
