// Throughput of a release build through one shared webhook, beside the harness's own measure of this machine (`limit`).
// The harness is the folder of BENCH_DIR, or ../shared/bench beside the checkout. BENCH_N events, BENCH_C connections,
// BENCH_ROUNDS rounds. Compare only figures of the same machine and the same hour.
import { execFileSync, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { LOOPBACK, Server, freePort } from './lib/server.mjs';
import { eventually } from './lib/wait.mjs';
import { shareWebhook, threeProducts } from './lib/world.mjs';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const HARNESS = process.env.BENCH_DIR ?? path.join(ROOT, '../shared/bench');
const TARGET = path.join(ROOT, 'target/bench');
const N = process.env.BENCH_N ?? '20000';
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

/** Starts a program of the harness and waits until it listens; gives a function that ends it. */
async function start(name, args, address) {
  const child = spawn(program(name), args, { stdio: ['ignore', 'ignore', 'inherit'] });
  const gone = new Promise((resolve) => { child.once('exit', resolve); });
  // Any answer will do, also a refusal: it listens.
  await eventually(() => fetch(`http://${address}/stats`).then((answer) => answer.arrayBuffer()), { every: 50 });
  return async () => { child.kill('SIGKILL'); await gone; };
}

/** Publishes N events and waits for all of them at the sink; gives the harness's report. */
function publish(sink, url, extra) {
  const args = ['--url', url, '--n', N, '--c', C, '--warmup', WARMUP, '--sink', `http://${sink}`, ...extra];
  const report = JSON.parse(execFileSync(program('pub'), args, { encoding: 'utf8' }).trim().split('\n').at(-1));
  if (!report.all_arrived) throw new Error(`not all arrived: ${JSON.stringify(report)}`);
  return report;
}

async function measureLimit(sink) {
  const dir = await mkdtemp(path.join(tmpdir(), 'tributary-bench-'));
  const address = `127.0.0.1:${await freePort()}`;
  const stop = await start('limit', [address, sink, dir, C], address);
  try {
    return publish(sink, `http://${address}/ev`, []);
  } finally {
    await stop();
    await rm(dir, { recursive: true, force: true });
  }
}

async function measureTributary(sink) {
  const server = await Server.launch(LOOPBACK);
  try {
    const world = await threeProducts(server.base);
    // The webhook sends the default form fields, the token of the harness among them as `data`.
    const hook = await shareWebhook(world, { url: (at) => `http://${sink}${at}` }, undefined, { json: undefined, noDefaults: false });
    const [product] = world.products;
    const body = JSON.stringify({ name: hook.event, data: '@ID@' });
    const target = `${server.base}${product.scope}/events`;
    return publish(sink, target, ['--token', world.user.token, '--body', body, '--pid', String(server.pid)]);
  } finally {
    await server.close();
  }
}

const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];

const sink = `127.0.0.1:${await freePort()}`;
const stopSink = await start('sink', ['--listen', sink], sink);
const figures = { limit: [], tributary: [] };
try {
  for (let round = 1; round <= ROUNDS; round += 1) {
    for (const [name, measure] of [['limit', measureLimit], ['tributary', measureTributary]]) {
      const report = await measure(sink);
      figures[name].push(report.e2e_per_s);
      const memory = report.procs?.[0]?.peak_rss_mib;
      console.log(`round ${round}  ${name.padEnd(9)}  ${Math.round(report.e2e_per_s)} events/s${memory ? `, ${memory} MiB at most` : ''}`);
    }
  }
} finally {
  await stopSink();
}
const [limit, ours] = [median(figures.limit), median(figures.tributary)];
console.log(`median of ${ROUNDS}: limit ${Math.round(limit)}, tributary ${Math.round(ours)} events/s, ${(ours / limit).toFixed(2)} of the limit`);
