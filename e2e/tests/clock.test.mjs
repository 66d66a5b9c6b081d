// A clock that jumps: the server process sees another time than the machine (libfaketime), an hour more or less from one
// moment to the next. Nothing is lost, retries go on, and every reading is counted once.
import assert from 'node:assert/strict';
import { existsSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { Books } from '../lib/books.mjs';
import { Receiver } from '../lib/receiver.mjs';
import { LOOPBACK, Server } from '../lib/server.mjs';
import { counted, pending } from '../lib/tally.mjs';
import { eventually } from '../lib/wait.mjs';

const LIBRARY = ['x86_64', 'aarch64', 'arm', 'riscv64']
  .map((cpu) => `/usr/lib/${cpu}-linux-gnu${cpu === 'arm' ? 'eabihf' : ''}/faketime/libfaketimeMT.so.1`)
  .find((file) => existsSync(file));
const skip = LIBRARY ? false : 'libfaketime is not installed (make setup)';
const HOUR = 3_600;
/** Far less than the hour that the clock jumps: whoever waits for the old time is found out. */
const SOON = { within: 30_000, every: 200 };

/** A server whose clock `jump(seconds)` sets that much ahead of, or behind, the machine's. */
async function serverWithClock(t, env = {}) {
  const folder = await mkdtemp(path.join(tmpdir(), 'tributary-clock-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const file = path.join(folder, 'offset');
  const jump = (seconds) => writeFileSync(file, `${seconds < 0 ? '-' : '+'}${Math.abs(seconds)}\n`);
  jump(0);
  const server = await Server.start(t, {
    ...LOOPBACK,
    ...env,
    LD_PRELOAD: LIBRARY,
    FAKETIME_TIMESTAMP_FILE: file,
    FAKETIME_NO_CACHE: '1',
    // As on a real machine: only the wall clock is set, the time since the start goes on.
    FAKETIME_DONT_FAKE_MONOTONIC: '1',
    DONT_FAKE_MONOTONIC: '1',
  });
  return { server, jump };
}

/** Waits until the server has `count` deliveries waiting. */
const waiting = (books, count) => eventually(async () => {
  const now = await pending(books.api);
  assert.ok(now >= count, `${now} of ${count} deliveries wait`);
}, SOON);

for (const [what, seconds] of [['forward', HOUR], ['back', -HOUR]]) {
  test(`a clock that jumps an hour ${what} while retries wait`, { timeout: 90_000, skip }, async (t) => {
    const { server, jump } = await serverWithClock(t, { TRIBUTARY_DELIVERY__RETRY_DELAYS: '3s,1s' });
    const receiver = await Receiver.start(t);
    // The first attempt of each fails.
    const seen = new Set();
    const books = await Books.start(server.base, receiver, (steady, request) => {
      const { id } = JSON.parse(request.text);
      if (seen.has(id)) return steady(request);
      seen.add(id);
      return { status: 500 };
    });
    assert.equal(await books.publish(15), 200);
    await waiting(books, 15);
    jump(seconds);
    assert.equal(await books.publish(), 200, 'publishing goes on');
    assert.equal(await books.publish(15), 200);
    await books.settled(SOON.within);
    jump(0);
    assert.equal(await books.publish(15), 200);
    await books.settled(SOON.within);
  });
}

test('retries that wait are found by a server that starts with its clock an hour behind', { timeout: 90_000, skip }, async (t) => {
  const { server, jump } = await serverWithClock(t);
  const receiver = await Receiver.start(t);
  let broken = true;
  const books = await Books.start(server.base, receiver, (steady, request) => (broken ? { status: 500 } : steady(request)));
  assert.equal(await books.publish(10), 200);
  await waiting(books, 10);
  await server.kill('SIGKILL');
  broken = false;
  jump(-HOUR);
  await server.restart();
  assert.equal(await books.publish(), 200);
  await books.settled(SOON.within);
});

test('a destination that sleeps wakes up although the clock was set back', { timeout: 90_000, skip }, async (t) => {
  const { server, jump } = await serverWithClock(t, { TRIBUTARY_DELIVERY__RETRY_DELAYS: '100ms' });
  const receiver = await Receiver.start(t);
  let broken = true;
  const books = await Books.start(server.base, receiver, (steady, request) => (broken ? { status: 500 } : steady(request)));
  const sum = () => counted(books.api, books.org.scope, [books.integration.id], books.product.id);
  await eventually(async () => {
    assert.equal(await books.publish(10), 200);
    assert.ok((await sum()).skipped > 0, 'the destination sleeps');
  }, SOON);

  jump(-HOUR);
  broken = false;
  await eventually(async () => {
    assert.equal(await books.publish(), 200);
    assert.ok((await sum()).success > 0, 'the destination is awake');
  }, { within: SOON.within, every: 500 });
  await eventually(async () => {
    assert.equal(await pending(books.api), 0);
    const { all, success } = await sum();
    assert.equal(all, books.sent.accepted.size, 'each reading is counted once');
    assert.equal(success, books.seen.size);
  }, SOON);
});
